"""Velocity commands: forward and left velocity [m/s] and yaw rate [rad/s] in the base frame, drawn anew in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class CommandConfig:
    """Laws of the command.

    lin_vel_x, lin_vel_y [m/s], ang_vel_z [rad/s]: uniform between the two numbers.
    interval_s: seconds between draws, uniform.  standing: probability of the zero command.
    straight: probability of a yaw rate of zero, with which a robot gets somewhere: the others lead it in circles.
    dead_band: commands whose norm is below this are zero.
    settle_s: seconds for which a robot that is told to stop still counts as moving, so that it may step to a halt.
    """

    lin_vel_x: Sequence[float] = (-0.6, 1.0)
    lin_vel_y: Sequence[float] = (-0.4, 0.4)
    ang_vel_z: Sequence[float] = (-0.8, 0.8)
    interval_s: Sequence[float] = (5.0, 10.0)
    standing: float = 0.1
    straight: float = 0.0
    dead_band: float = 0.1
    settle_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lin_vel_x", "lin_vel_y", "ang_vel_z", "interval_s"):
            limits = getattr(self, name)
            if not isinstance(limits, Sequence) or len(limits) != 2 or limits[0] > limits[1]:
                raise ValueError(f"commands.{name} must be [low, high] with low <= high, got {limits}")
        if self.interval_s[0] < 0:
            raise ValueError(f"commands.interval_s is a time, got {list(self.interval_s)}")
        for name in ("standing", "straight"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"commands.{name} is a probability, got {getattr(self, name)}")
        if self.standing + self.straight > 1.0:
            raise ValueError(
                f"commands.standing and commands.straight exclude each other; their probabilities sum to "
                f"{self.standing + self.straight:g}"
            )

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """name -> (low, high)."""
        return {name: tuple(getattr(self, name)) for name in ("lin_vel_x", "lin_vel_y", "ang_vel_z")}

    @property
    def choices(self) -> dict[str, tuple[float, float]]:
        """The limits, for the task's spec; empty where there is nothing to ask for, as in getting up."""
        return self.limits if any(low < high for low, high in self.limits.values()) else {}


class VelocityCommand:
    """The commands of N worlds.

    value: (N, 3).  moving: (N,) bool, motion is asked for, or was less than ``settle_s`` ago.
    fixed: (3,) or (N, 3), replaces the draws, e.g. from a slider.
    """

    def __init__(self, config: CommandConfig, num_worlds: int, device: torch.device, dt: float) -> None:
        self.config, self.dt = config, dt
        limits = torch.tensor(list(config.limits.values()), device=device)
        self._low, self._span = limits[:, 0], limits[:, 1] - limits[:, 0]
        self.value = torch.zeros(3, num_worlds, device=device).t()  # worlds last
        self.moving = torch.zeros(num_worlds, dtype=torch.bool, device=device)
        self.time_left = torch.zeros(num_worlds, device=device)
        self._zero = torch.ones(num_worlds, dtype=torch.bool, device=device)
        self._zero_for = torch.full((num_worlds,), config.settle_s, device=device)
        self.fixed: Tensor | None = None

    def reset(self, worlds: Tensor, generator: torch.Generator) -> None:
        """Commands for episodes that begin, from a stand."""
        self._zero_for[worlds] = self.config.settle_s
        self.draw(worlds, generator)

    def draw(self, worlds: Tensor, generator: torch.Generator) -> None:
        """New commands for these worlds."""
        draws = torch.rand(len(worlds), 5, generator=generator, device=self.value.device)
        value = self._low + self._span * draws[:, :3]
        kind = draws[:, 3]
        value[:, 2].masked_fill_(kind >= 1.0 - self.config.straight, 0.0)
        zero = (kind < self.config.standing) | (value.norm(dim=-1) < self.config.dead_band)
        value.masked_fill_(zero[:, None], 0.0)
        if self.fixed is not None:
            value = self.fixed.to(value).expand(self.value.shape)[worlds]
        low, high = self.config.interval_s
        self.value[worlds] = value
        self.time_left[worlds] = low + (high - low) * draws[:, 4]
        self._zero[worlds] = value.norm(dim=-1) < self.config.dead_band
        self._update()

    def step(self, generator: torch.Generator) -> None:
        """Let a control period pass; draw where the interval is over."""
        self.time_left -= self.dt
        self._zero_for.add_(self.dt).mul_(self._zero)
        due = (self.time_left <= 0).nonzero().squeeze(-1)
        if len(due):
            self.draw(due, generator)
        else:
            self._update()

    def _update(self) -> None:
        settled = self._zero_for > self.config.settle_s - self.dt / 2
        self.moving.copy_(~(self._zero & settled))

    def displacement(self, heading: Tensor) -> Tensor:
        """Where a control period at the command leads, (N, 2) m in the world frame; heading: (N,) rad."""
        x, y, _ = self.value.unbind(-1)
        cos, sin = torch.cos(heading), torch.sin(heading)
        return torch.stack([cos * x - sin * y, sin * x + cos * y], -1) * self.dt

    def fix(self, value: Sequence[float] | Tensor | None) -> None:
        """Hold every world's command at (forward m/s, left m/s, yaw rate rad/s) from now on; None frees it."""
        self.fixed = None if value is None else torch.as_tensor(value, dtype=torch.float32).to(self.value.device)
        if self.fixed is not None:
            self.value[:] = self.fixed
            self._zero.copy_(self.value.norm(dim=-1) < self.config.dead_band)
            self._update()

    def state_dict(self) -> dict[str, Any]:
        """For a bit-exact continuation."""
        return {
            "value": self.value.clone(),
            "time_left": self.time_left.clone(),
            "zero": self._zero.clone(),
            "zero_for": self._zero_for.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.value.copy_(state["value"])
        self.time_left.copy_(state["time_left"])
        self._zero.copy_(state["zero"])
        self._zero_for.copy_(state["zero_for"])
        self._update()
