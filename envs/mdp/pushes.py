"""Pushes: sudden changes of a base's horizontal velocity, at random times, in random directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PushConfig:
    """``speed`` [m/s] and ``interval_s`` [s] between pushes, each uniform between the two numbers."""

    speed: tuple[float, float] = (0.0, 0.0)
    interval_s: tuple[float, float] = (5.0, 10.0)

    def __post_init__(self) -> None:
        for name in ("speed", "interval_s"):
            limits = getattr(self, name)
            if not isinstance(limits, (tuple, list)) or len(limits) != 2:
                raise ValueError(f"push.{name} must be [low, high] with 0 <= low <= high, got {limits}")
            low, high = limits
            if not 0 <= low <= high:
                raise ValueError(f"push.{name} must be [low, high] with 0 <= low <= high, got [{low}, {high}]")


class Pushes:
    """The timers of N worlds; ``time_left`` (N,) s."""

    def __init__(self, config: PushConfig, num_worlds: int, device: torch.device, dt: float) -> None:
        self.config, self.dt = config, dt
        self.active = config.speed[1] > 0
        self.time_left = torch.zeros(num_worlds, device=device)

    def draw(self, worlds: Tensor, generator: torch.Generator) -> None:
        """Set the time to the next push of these worlds."""
        self.time_left[worlds] = self._uniform(len(worlds), self.config.interval_s, generator)

    def step(self, qvel: Tensor, generator: torch.Generator) -> Tensor | None:
        """Let a control period pass; change qvel (N, >=2), world frame, of the due worlds, (n,) or None."""
        if not self.active:
            return None
        self.time_left -= self.dt
        due = self.time_left <= 0
        worlds = due.nonzero().squeeze(-1)
        if not len(worlds):
            return None
        angle = self._uniform(len(worlds), (0.0, 2 * math.pi), generator)
        speed = self._uniform(len(worlds), self.config.speed, generator)
        push = torch.stack([speed * torch.cos(angle), speed * torch.sin(angle)], -1)
        qvel[worlds, :2] += push.to(qvel.dtype)
        self.draw(worlds, generator)
        return worlds

    def _uniform(self, n: int, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
        low, high = limits
        return low + (high - low) * torch.rand(n, generator=generator, device=self.time_left.device)
