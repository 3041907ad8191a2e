"""A toy whose rows begin alike in groups: go to the origin of a line, paid only if it ends there."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from embodied.types import StepResult
from tests.helpers.environments import TinyEnv, spec_of


class Line(TinyEnv):
    """Groups of rows start at the same place in [-1, 1]; a step moves by at most 0.4. Success: within 0.2 at the end.

    lucky: what every episode is paid instead, for rewards that teach nothing.
    """

    def __init__(self, rows: int = 64, group: int = 8, horizon: int = 4, lucky: float | None = None) -> None:
        super().__init__(rows, 1)
        self.config = SimpleNamespace(group=group)
        self.spec = spec_of("line", 1, 1, horizon, success_metric="success")
        self.lucky = lucky

    def begin(self, rows: int) -> Tensor:
        group = self.config.group
        return (2 * torch.rand(-(-rows // group), 1, generator=self.generator) - 1).repeat_interleave(group, 0)[:rows]

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        self.x += 0.4 * action.clamp(-1, 1)
        last = self.clock + 1 >= self.spec.horizon
        paid = (self.x.abs().squeeze(-1) < 0.2).float() if self.lucky is None else self.lucky
        return torch.where(last, paid, 0.0), torch.zeros(self.num_rows, dtype=torch.bool)

    def step(self, action: Tensor) -> StepResult:
        result = super().step(action)
        result.metrics["success"] = (result.reward > 0.5).float()
        return result
