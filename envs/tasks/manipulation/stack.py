"""Stack: put the red cube on the blue one, and let go."""

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
from .scene import BLUE, RED, add_boxes
from .state import TableState, closeness


@dataclass(frozen=True)
class StackOptions:
    """low, high: rectangle of the starts, m, world.  distance: m between the cubes, (least, most).  half: half an edge
    [m].  mass: kg of each.  tolerance: m, horizontally, between the centres of stacked cubes."""

    low: tuple[float, float] = (0.40, -0.18)
    high: tuple[float, float] = (0.60, 0.18)
    distance: tuple[float, float] = (0.08, 0.25)
    half: float = 0.02
    mass: float = 0.06
    tolerance: float = 0.015

    def __post_init__(self) -> None:
        for name in ("half", "mass", "tolerance"):
            positive(f"task.options.{name}", getattr(self, name))


class StackEnv(ManipulationEnv):
    """N worlds of stack: object 0 is to stand on object 1, at rest and out of the fingers."""

    objects = ("red", "blue")
    goal_size = 0
    options_type = StackOptions
    options: StackOptions

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: StackOptions) -> None:
        for name, colour in zip(cls.objects, (RED, BLUE), strict=True):
            add_boxes(spec, name, [((0, 0, 0), (options.half,) * 3)], options.mass, colour)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        o = self.options
        low, high = torch.tensor(o.low, device=self.device), torch.tensor(o.high, device=self.device)
        places = layout.apart(low, high, o.distance, self.uniform(n, 0.0, 1.0, 32, 4))
        poses = [
            layout.pose(layout.on_table(place, o.half), self.uniform(n, -math.pi / 4, math.pi / 4)) for place in places
        ]
        return torch.stack(poses, dim=1), low.new_zeros(n, 0)

    def stacked(self, s: TableState) -> Tensor:
        """(n,) bool: the red cube's centre is an edge above the blue one's."""
        offset = s.object_pos[:, 0] - s.object_pos[:, 1]
        level = offset[:, :2].norm(dim=-1) < self.options.tolerance
        return level & ((offset[:, 2] - 2 * self.options.half).abs() < 0.005)

    def success(self, s: TableState) -> Tensor:
        released = s.opening > 2 * self.options.half + 0.01
        return self.stacked(s) & released & s.object_still(0) & s.object_still(1)

    def progress(self, s: TableState) -> Tensor:
        red, half = s.object_pos[:, 0], self.options.half
        above = s.object_pos[:, 1].clone()
        above[:, 2] += 2 * half
        held, done = s.held(0, half), self.stacked(s)
        carried = (held | done).float() * closeness((above - red).norm(dim=-1), 0.15)
        reached = closeness((red - s.hand_pos).norm(dim=-1), 0.1).maximum(done.float())
        return 0.15 * reached + 0.15 * (held | done).float() + 0.4 * carried + 0.3 * (done & ~held).float()

    def task_terms(self, s: TableState) -> dict[str, Term]:
        red, blue = s.object_pos.unbind(1)
        return {
            "hand_to_red": (red - s.hand_pos, "m", "world"),
            "red_rot": (rotations.six(s.object_rot[:, 0]), "1", "world"),
            "red_to_blue": (blue - red, "m", "world"),
            "blue_rot": (rotations.six(s.object_rot[:, 1]), "1", "world"),
        }
