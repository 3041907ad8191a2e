"""Push: slide a cube to a goal on the table with the closed fingers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from embodied.configuration import positive

from ...mdp import rotations
from . import layout
from .env import ManipulationEnv, Term
from .scene import BLUE, add_boxes, add_marker
from .state import TableState, closeness


@dataclass(frozen=True)
class PushOptions:
    """low, high: rectangle of the cube's starts and of the goals, m, world.  distance: m from start to goal, (least,
    most).  half: half the cube's edge [m].  mass: kg.  tolerance: m from the cube's centre to the goal."""

    low: tuple[float, float] = (0.38, -0.2)
    high: tuple[float, float] = (0.62, 0.2)
    distance: tuple[float, float] = (0.1, 0.25)
    half: float = 0.025
    mass: float = 0.1
    tolerance: float = 0.025

    def __post_init__(self) -> None:
        for name in ("half", "mass", "tolerance"):
            positive(f"task.options.{name}", getattr(self, name))


class PushEnv(ManipulationEnv):
    """N worlds of push. The goal is a point (2,) on the table."""

    objects = ("cube",)
    goal_size = 2
    options_type = PushOptions
    options: PushOptions

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: PushOptions) -> None:
        add_boxes(spec, "cube", [((0, 0, 0), (options.half,) * 3)], options.mass, BLUE)
        add_marker(spec, [((0, 0, 0.0005), (options.half, options.half, 0.0005))])

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        o = self.options
        low, high = torch.tensor(o.low, device=self.device), torch.tensor(o.high, device=self.device)
        start, goal = layout.apart(low, high, o.distance, self.uniform(n, 0.0, 1.0, 32, 4))
        yaw = self.uniform(n, -math.pi / 4, math.pi / 4)
        return layout.pose(layout.on_table(start, o.half), yaw)[:, None], goal

    def success(self, s: TableState) -> Tensor:
        near = (s.goal - s.object_pos[:, 0, :2]).norm(dim=-1) < self.options.tolerance
        return near & s.object_still()

    def progress(self, s: TableState) -> Tensor:
        cube = s.object_pos[:, 0]
        reached = closeness((cube - s.hand_pos).norm(dim=-1), 0.2)
        return 0.2 * reached + 0.8 * closeness((s.goal - cube[:, :2]).norm(dim=-1), 0.15)

    def task_terms(self, s: TableState) -> dict[str, Term]:
        cube = s.object_pos[:, 0]
        return {
            "hand_to_cube": (cube - s.hand_pos, "m", "world"),
            "cube_rot": (rotations.six(s.object_rot[:, 0]), "1", "world"),
            "cube_to_goal": (s.goal - cube[:, :2], "m", "world"),
        }

    def marker(self, goal: Tensor) -> tuple[Tensor, Tensor]:
        return super().marker(torch.cat([goal, goal.new_zeros(1)]))
