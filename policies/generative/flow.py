"""Rectified flow (Liu et al. 2023; Lipman et al. 2023): a straight way from noise to the action, by Euler steps.

Time runs from 0 (noise) to 1 (action): ``x_t = t action + (1 - t) noise``, whose velocity is ``action - noise``.

Legend: B rows; K sampling steps; H action chunk; A action size; C condition size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.configuration import positive

from .denoisers import Denoiser
from .process import Step, clipped, mean_square, normal, rows_like


@dataclass(frozen=True)
class FlowConfig:
    """steps: K.  clip: limit of x after each step, in policy units; None: no limit."""

    steps: int = 4
    clip: float | None = None

    def __post_init__(self) -> None:
        positive("policy.flow.steps", self.steps)
        if self.clip is not None:
            positive("policy.flow.clip", self.clip)


def between(action: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The point (B, H, A) at time t (B,) of the straight way from noise to action."""
    share = rows_like(t, action)
    return share * action + (1 - share) * noise


class RectifiedFlow:
    """The network says the velocity; deterministic but for its start."""

    times = 1

    def __init__(self, config: FlowConfig) -> None:
        self.steps, self.clip = config.steps, config.clip
        self.std = (0.0,) * config.steps

    def grid(self, like: Tensor) -> tuple[Tensor, ...]:
        """k/K, where step k starts, (K,)."""
        return (like.new_tensor([k / self.steps for k in range(self.steps)]),)

    def instantaneous(self, network: Denoiser, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The velocity (B, H, A) at times t (B,)."""
        return network(x, network.embed_times(t), cond)

    def mean(self, output: Tensor, x: Tensor, k: Step) -> Tensor:
        """What step k, from time k/K to (k+1)/K, makes of x (B, H, A) by a velocity (B, H, A)."""
        return clipped(x + output / self.steps, self.clip)

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(rows,), uniform in [0, 1)."""
        return torch.rand(rows, dtype=like.dtype, device=like.device, generator=generator)

    def matching_loss(self, network: Denoiser, action: Tensor, cond: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Squared error (B,) of the velocity at times t (B,), mean over the chunk."""
        return mean_square(self.instantaneous(network, between(action, noise, t), t, cond) - (action - noise))

    def loss(self, network: Denoiser, action: Tensor, cond: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Conditional flow matching (Lipman et al. 2023, eq. 9), (B,)."""
        t = self.draw_times(action.shape[0], action, generator)
        return self.matching_loss(network, action, cond, t, normal(tuple(action.shape), action, generator))
