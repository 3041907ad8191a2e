"""Pick: take the cube along either pair of faces, and carry it to the goal."""

from __future__ import annotations

import torch
from torch import Tensor

from ....mdp import rotations
from ..pick_cube import PickCubeEnv
from ..state import TableState
from .expert import Plan
from .grasp import GraspExpert, merge


class PickExpert(GraspExpert):
    """Takes the cube, then moves the hand by what the cube lacks to the goal."""

    env: PickCubeEnv

    @property
    def half(self) -> float:
        return self.env.options.half

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        held = self.holds(s)
        carry = Plan(
            s.hand_pos + s.goal - s.object_pos[:, 0], rotations.yaw_of(s.target_rot), torch.ones_like(held), 1.0
        )
        return merge(held, carry, self.take(rows, s))
