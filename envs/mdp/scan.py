"""The height scan: ground heights at a grid of points around a robot, in its heading frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embodied.types import Mirror

from .frames import yaw


@dataclass(frozen=True)
class ScanConfig:
    """Grid around the base in the heading frame: half extents [m] and spacing [m]."""

    half_x: float = 0.6
    half_y: float = 0.4
    spacing: float = 0.2

    def __post_init__(self) -> None:
        if self.spacing <= 0 or self.half_x < 0 or self.half_y < 0:
            raise ValueError(f"scan: spacing must be positive and extents not negative, got {self}")
        for name in ("half_x", "half_y"):
            count = 2 * getattr(self, name) / self.spacing
            if abs(count - round(count)) > 1e-4:  # the grid would not be symmetric, nor would its mirror image
                raise ValueError(f"scan: twice {name} must be a multiple of spacing, got {self}")


class HeightScan:
    """P points, x-major, or none without a configuration. parameters: the grid's, for the task's spec."""

    def __init__(self, config: ScanConfig | None, device: torch.device) -> None:
        self.parameters: dict[str, Any] = {} if config is None else dataclasses.asdict(config)
        if config is None:
            self.shape = (0, 0)
            self._points = torch.zeros(0, 2, device=device)
            return
        xs = torch.arange(-config.half_x, config.half_x + 1e-6, config.spacing, device=device)
        ys = torch.arange(-config.half_y, config.half_y + 1e-6, config.spacing, device=device)
        self.shape = (len(xs), len(ys))
        self._points = torch.cartesian_prod(xs, ys)

    def __call__(self, qpos: Tensor, ground: Callable[[Tensor], Tensor], nominal: float) -> Tensor:
        """Base height above the ground at the points, less ``nominal`` [m], (n, P).

        qpos: (n, >=7), a free joint first.  ground: heights [m] at points (..., 2) of the world.
        """
        if not len(self._points):
            return qpos.new_zeros(len(qpos), 0)
        heading = yaw(qpos[:, 3:7])
        x, y = self._points.t()[..., None]  # (P, 1) each: what follows is (P, n), worlds last in memory
        cos, sin = torch.cos(heading), torch.sin(heading)
        points = torch.stack([cos * x - sin * y + qpos[:, 0], sin * x + cos * y + qpos[:, 1]])
        return qpos[:, 2:3] - ground(points.permute(2, 1, 0)) - nominal

    @property
    def mirror(self) -> Mirror:
        """Left and right change places."""
        index = torch.arange(self.shape[0] * self.shape[1]).reshape(self.shape).flip(1).reshape(-1)
        return Mirror(tuple(index.tolist()), (1.0,) * len(index))
