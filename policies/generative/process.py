"""What every generative process has in common: one transition, which sampler and likelihood share, and a training loss.

Sampling goes in steps k = 0 (noise) to K - 1, each of which is a Gaussian whose mean and standard deviation are the
transition's; a deviation of 0 is a deterministic step.

Legend: B rows; K sampling steps; D noise tensors of one decision; H action chunk; A action size; C condition size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .denoisers import Denoiser

Step = int | Tensor
"""The step that all of x takes, or (n,) whole numbers, a step for each entry of the axis before H and A."""
Predict = Callable[[Tensor, int], Tensor]
"""(x (B, H, A), k) -> what the network makes of it, (B, H, A)."""


class Process(Protocol):
    """From noise to an action chunk.

    steps: K.  times: how many times the network is told, 1 or 2.  std: K standard deviations, one a step.
    """

    steps: int
    times: int
    std: tuple[float, ...]

    def grid(self, like: Tensor) -> tuple[Tensor, ...]:
        """The times that the network is told at the K steps, ``times`` tensors (K,) in ``like``'s type."""

    def mean(self, output: Tensor, x: Tensor, k: Step) -> Tensor:
        """Mean (B, H, A) of what step k makes of x (B, H, A), where the network's output is (B, H, A)."""

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Times (rows,) at which the training loss looks, in ``like``'s type."""

    def matching_loss(self, network: Denoiser, action: Tensor, cond: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error (B,) of the network at times t (B,) with this noise (B, H, A) on actions (B, H, A)."""

    def loss(self, network: Denoiser, action: Tensor, cond: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The training loss (B,) on actions (B, H, A), one random time and noise a row."""


def normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers in ``like``'s type and on its device."""
    return torch.randn(shape, dtype=like.dtype, device=like.device, generator=generator)


def noise_count(process: Process) -> int:
    """D: the start, and one tensor for every step that is not deterministic."""
    return 1 + sum(std > 0 for std in process.std)


def predictor(process: Process, network: Denoiser, cond: Tensor) -> Predict:
    """The network along a chain of this process, for observations cond (B, C)."""
    times = network.embed_times(*process.grid(cond)).split(1)
    return lambda x, k: network(x, times[k], cond)


def denoise(process: Process, predict: Predict, noise: Tensor) -> list[Tensor]:
    """The chain x_0 .. x_K of (B, H, A) that this noise (B, D, H, A) leads to; a function of its arguments alone."""
    draws = iter(noise.unbind(1))
    chain = [next(draws)]
    for k, std in enumerate(process.std):
        x = process.mean(predict(chain[-1], k), chain[-1], k)
        chain.append(x + std * next(draws) if std > 0 else x)
    return chain


def at(values: Sequence[float], k: Step, x: Tensor) -> float | Tensor:
    """Of K numbers those of steps k, so that they broadcast against x (..., n, H, A)."""
    return values[k] if isinstance(k, int) else rows_like(x.new_tensor(values)[k], x)


def clipped(x: Tensor, limit: float | None) -> Tensor:
    """x within +-limit; None: as it is."""
    return x if limit is None else x.clamp(-limit, limit)


def mean_square(error: Tensor) -> Tensor:
    """(B, H, A) -> (B,)."""
    return error.square().mean((-2, -1))


def rows_like(t: Tensor, x: Tensor) -> Tensor:
    """A number a row, t (B,), shaped to broadcast against x (B, H, A)."""
    return t.view(-1, 1, 1)
