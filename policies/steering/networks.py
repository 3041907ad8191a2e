"""Networks of soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905): a squashed Gaussian, and several critics.

Legend: B rows; S elements of what the actor sees; L elements of its action; Q critics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..distributions import gaussian_log_density
from ..networks import flat, mlp

LOG_STD = (-20.0, 2.0)
"""Limits of the logarithm of the Gaussian's deviation."""


class Actor(nn.Module):
    """A Gaussian whose draws u are squashed to tanh(u) in (-1, 1), one element independent of the other."""

    optimizer: torch.optim.Optimizer

    def __init__(self, size_in: int, size: int, hidden: Sequence[int], activation: str) -> None:
        super().__init__()
        self.net = mlp(size_in, hidden, 2 * size, activation, "default")

    def gaussian(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, L) of u for what is seen, (B, ...) of S elements."""
        mean, log_std = self.net(flat(seen)).chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD).exp()

    def draw(self, seen: Tensor, deterministic: bool = False) -> Tensor:
        """u (B, L); deterministic: the mean."""
        mean, std = self.gaussian(seen)
        return mean if deterministic else mean + std * torch.randn_like(mean)

    def log_prob(self, seen: Tensor, u: Tensor) -> Tensor:
        """Log-density (B,) of tanh(u) for u (B, L)."""
        return squashed_log_density(u, *self.gaussian(seen))

    def action_log_prob(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """A drawn action (B, L) and its log-density (B,); gradients pass through both (reparametrised)."""
        mean, std = self.gaussian(seen)
        u = mean + std * torch.randn_like(mean)
        return u.tanh(), squashed_log_density(u, mean, std)


class Critics(nn.Module):
    """Q values of an observation with an action, one independent of the other."""

    optimizer: torch.optim.Optimizer

    def __init__(self, size_in: int, hidden: Sequence[int], activation: str, count: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(mlp(size_in, hidden, 1, activation, "default") for _ in range(count))

    def forward(self, seen: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        """Q values (B, 1) each, of what is seen, (B, ...) of S elements, and an action (B, L)."""
        both = torch.cat([flat(seen), action], -1)
        return tuple(net(both) for net in self.nets)


def smallest(critics: nn.Module, seen: Tensor, action: Tensor) -> Tensor:
    """The smallest of the critics' values, (B,)."""
    return torch.cat(critics(seen, action), -1).amin(-1)


def squashed_log_density(u: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density (B,) of tanh(u), where u (B, L) is Gaussian: that of u less log(1 - tanh(u)^2)."""
    log_slope = 2 * (math.log(2) - u - functional.softplus(-2 * u))  # without loss where tanh saturates
    return (gaussian_log_density(u, mean, std) - log_slope).sum(-1)
