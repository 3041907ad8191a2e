"""Shortcut models (Frans et al. 2025): the velocity knows its step size, so that one network samples in 1 to M steps.

Three rows in four learn the instantaneous velocity (step size 0); one in four learns that a step of size 2d does what
two steps of size d do (sec. 3.2), for d of 1/M, 2/M, ..., 1/2. The paper distils from a moving average of the weights;
here the teacher is the network itself, without gradient.

Legend: B rows; K sampling steps; M finest steps; H action chunk; A action size; C condition size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.configuration import within

from .denoisers import Denoiser
from .flow import FlowConfig, RectifiedFlow, between
from .process import mean_square, normal, rows_like


@dataclass(frozen=True)
class ShortcutConfig(FlowConfig):
    """steps: K, which must divide finest.  finest: M, a power of 2.  consistency: share of rows that learn to leap."""

    finest: int = 8
    consistency: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        within("policy.shortcut.consistency", self.consistency, 0.0, 1.0)
        if self.finest < 2 or self.finest & (self.finest - 1):
            raise ValueError(f"policy.shortcut.finest={self.finest}: must be a power of 2, at least 2")
        if self.finest % self.steps:
            raise ValueError(f"policy.shortcut.steps={self.steps}: must divide finest={self.finest}")


class Shortcut(RectifiedFlow):
    """The second time is the step size."""

    times = 2

    def __init__(self, config: ShortcutConfig) -> None:
        super().__init__(config)
        self.finest, self.consistency = config.finest, config.consistency

    def grid(self, like: Tensor) -> tuple[Tensor, ...]:
        """k/K, where step k starts, and its size 1/K, (K,) each."""
        return *super().grid(like), like.new_full((self.steps,), 1 / self.steps)

    def instantaneous(self, network: Denoiser, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The velocity (B, H, A) of an infinitely small step at times t (B,)."""
        return network(x, network.embed_times(t, torch.zeros_like(t)), cond)

    def loss(self, network: Denoiser, action: Tensor, cond: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Flow matching on most rows and self-consistency on the others, (B,)."""
        rows = action.shape[0]
        noise = normal(tuple(action.shape), action, generator)
        matching = self.matching_loss(network, action, cond, self.draw_times(rows, action, generator), noise)
        if self.consistency == 0:
            return matching
        size = self._draw_sizes(rows, action, generator)
        leaps = torch.rand(rows, device=action.device, generator=generator) < self.consistency
        start = (torch.rand(rows, dtype=action.dtype, device=action.device, generator=generator) / (2 * size)).floor()
        t = start * 2 * size
        return torch.where(leaps, self.leap_loss(network, between(action, noise, t), t, size, cond), matching)

    def leap_loss(self, network: Denoiser, x: Tensor, t: Tensor, size: Tensor, cond: Tensor) -> Tensor:
        """Squared error (B,) between one step of 2 size and two of size (B,), from x (B, H, A) at times t (B,)."""
        with torch.no_grad():
            first = network(x, network.embed_times(t, size), cond)
            second = network(x + rows_like(size, x) * first, network.embed_times(t + size, size), cond)
        return mean_square(network(x, network.embed_times(t, 2 * size), cond) - (first + second) / 2)

    def _draw_sizes(self, rows: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """(rows,): 1/M, 2/M, ..., 1/2, each as likely."""
        levels = self.finest.bit_length() - 1
        power = torch.randint(1, levels + 1, (rows,), device=like.device, generator=generator)
        return torch.pow(2.0, -power).to(like.dtype)
