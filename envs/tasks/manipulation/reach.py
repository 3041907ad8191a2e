"""Reach: bring the point between the finger tips to a goal in the air."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from embodied.configuration import positive

from .env import ManipulationEnv, Term
from .scene import add_marker
from .state import TableState, closeness


@dataclass(frozen=True)
class ReachOptions:
    """low, high: box of the goals, m, world.  tolerance: m."""

    low: tuple[float, float, float] = (0.35, -0.25, 0.05)
    high: tuple[float, float, float] = (0.65, 0.25, 0.40)
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        positive("task.options.tolerance", self.tolerance)


class ReachEnv(ManipulationEnv):
    """N worlds of reach. The goal is a point (3,) in the world."""

    options_type = ReachOptions
    options: ReachOptions

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: ReachOptions) -> None:
        add_marker(spec, radius=options.tolerance)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        low, high = (torch.tensor(corner, device=self.device) for corner in (self.options.low, self.options.high))
        return low.new_zeros(n, 0, 7), self.uniform(n, low, high, 3)

    def success(self, s: TableState) -> Tensor:
        return (s.goal - s.hand_pos).norm(dim=-1) < self.options.tolerance

    def progress(self, s: TableState) -> Tensor:
        return closeness((s.goal - s.hand_pos).norm(dim=-1), 0.2)

    def task_terms(self, s: TableState) -> dict[str, Term]:
        return {"hand_to_goal": (s.goal - s.hand_pos, "m", "world")}
