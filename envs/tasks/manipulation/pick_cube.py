"""Pick: take a cube and hold it at a goal in the air."""

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
from .scene import RED, add_boxes, add_marker
from .state import TableState, closeness


@dataclass(frozen=True)
class PickOptions:
    """low, high: rectangle of the cube's starts, and in the air above it of the goals, m, world.  goal_height: m.
    half: half the cube's edge [m].  mass: kg.  tolerance: m from the cube's centre to the goal."""

    low: tuple[float, float] = (0.38, -0.2)
    high: tuple[float, float] = (0.62, 0.2)
    goal_height: tuple[float, float] = (0.12, 0.30)
    half: float = 0.02
    mass: float = 0.06
    tolerance: float = 0.025

    def __post_init__(self) -> None:
        for name in ("half", "mass", "tolerance"):
            positive(f"task.options.{name}", getattr(self, name))


class PickCubeEnv(ManipulationEnv):
    """N worlds of pick. The goal is a point (3,) in the world; the cube has to be at rest there."""

    objects = ("cube",)
    options_type = PickOptions
    options: PickOptions

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: PickOptions) -> None:
        add_boxes(spec, "cube", [((0, 0, 0), (options.half,) * 3)], options.mass, RED)
        add_marker(spec, radius=options.tolerance)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        o = self.options
        low, high = torch.tensor(o.low, device=self.device), torch.tensor(o.high, device=self.device)
        start = layout.on_table(self.uniform(n, low, high, 2), o.half)
        goal = torch.cat([self.uniform(n, low, high, 2), self.uniform(n, *o.goal_height, 1)], dim=-1)
        return layout.pose(start, self.uniform(n, -math.pi / 4, math.pi / 4))[:, None], goal

    def success(self, s: TableState) -> Tensor:
        near = (s.goal - s.object_pos[:, 0]).norm(dim=-1) < self.options.tolerance
        return near & s.object_still()

    def progress(self, s: TableState) -> Tensor:
        cube, held = s.object_pos[:, 0], s.held(0, self.options.half).float()
        reached = closeness((cube - s.hand_pos).norm(dim=-1), 0.1)
        return 0.2 * reached + 0.2 * held + 0.6 * held * closeness((s.goal - cube).norm(dim=-1), 0.2)

    def task_terms(self, s: TableState) -> dict[str, Term]:
        cube = s.object_pos[:, 0]
        return {
            "hand_to_cube": (cube - s.hand_pos, "m", "world"),
            "cube_rot": (rotations.six(s.object_rot[:, 0]), "1", "world"),
            "cube_to_goal": (s.goal - cube, "m", "world"),
        }
