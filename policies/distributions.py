"""Likelihoods, each said once: ``act`` and ``evaluate_actions`` of a policy call the same function.

Legend: H action chunk; A action size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(action: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian summed over a chunk: action, mean (..., H, A), std (H, A) -> (...)."""
    z = (action - mean) / std
    return -0.5 * z.square().sum((-2, -1)) - (std.log() + _HALF_LOG_2PI).sum()


def gaussian_entropy(std: Tensor) -> Tensor:
    """Entropy in nats of a diagonal Gaussian over a chunk: std (H, A) -> scalar."""
    return (std.log() + 0.5 + _HALF_LOG_2PI).sum()


REDUCTIONS = ("sum", "mean")
"""How log-densities of a chunk's elements become one number. ``sum`` is the likelihood of the chunk; ``mean`` its
H * A-th root, which makes a clip range mean the same for every chunk length."""


def reduce_elements(x: Tensor, reduction: str) -> Tensor:
    """Sum or mean over a chunk: (..., H, A) -> (...)."""
    return x.sum((-2, -1)) if reduction == "sum" else x.mean((-2, -1))


def gaussian_log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of each element, for any deviation that broadcasts: (..., H, A)."""
    return -0.5 * ((x - mean) / std).square() - std.log() - _HALF_LOG_2PI


def gaussian_element_entropy(std: Tensor) -> Tensor:
    """Entropy in nats of each element, of std's shape."""
    return std.log() + 0.5 + _HALF_LOG_2PI


class StateIndependentStd(nn.Module):
    """A learnt standard deviation per action element, ``min_std + exp(parameter)``: never below, never stuck.

    shape: (H, A).  init_std: at the start, in policy units; must exceed ``min_std``.
    """

    def __init__(self, shape: tuple[int, int], init_std: float = 1.0, min_std: float = 0.0) -> None:
        super().__init__()
        if not 0 <= min_std < init_std:
            raise ValueError(f"need 0 <= min_std < init_std, not min_std={min_std}, init_std={init_std}")
        self.min_std = min_std
        self.log_excess = nn.Parameter(torch.full(shape, math.log(init_std - min_std)))

    def forward(self) -> Tensor:
        """(H, A)."""
        std = self.log_excess.exp()
        return std + self.min_std if self.min_std else std
