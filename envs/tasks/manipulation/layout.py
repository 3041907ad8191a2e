"""Where things are put on the table at the start of an episode."""

from __future__ import annotations

import torch
from torch import Tensor

from ...mdp import frames


def pose(position: Tensor, yaw: Tensor) -> Tensor:
    """MuJoCo's free-joint coordinates: position (n, 3) and yaw (n,) -> (n, 7)."""
    return torch.cat([position, frames.from_yaw(yaw)], dim=-1)


def on_table(xy: Tensor, height: float) -> Tensor:
    """(n, 2) -> (n, 3) at this height [m]."""
    return torch.cat([xy, torch.full_like(xy[:, :1], height)], dim=-1)


def apart(low: Tensor, high: Tensor, gap: tuple[float, float], unit: Tensor) -> tuple[Tensor, Tensor]:
    """Two points in the rectangle [low, high] (2,), their distance within ``gap`` [m], from U(0, 1) draws (n, T, 4).

    The first of T tries that fits is taken; where none does, the one nearest to fitting.
    """
    first = low + (high - low) * unit[..., :2]
    second = low + (high - low) * unit[..., 2:]
    distance = (second - first).norm(dim=-1)
    miss = (gap[0] - distance).clamp_min(0) + (distance - gap[1]).clamp_min(0)
    best = miss.argmin(dim=1)  # the first of equals
    rows = torch.arange(len(unit), device=unit.device)
    return first[rows, best], second[rows, best]
