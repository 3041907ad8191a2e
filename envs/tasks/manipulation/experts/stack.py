"""Stack: take the red cube along either pair of faces, set it on the blue one, open, rise."""

from __future__ import annotations

from torch import Tensor

from ....mdp import rotations
from ..stack import StackEnv
from ..state import TableState
from .expert import Plan, level_error, pick, raised
from .grasp import GraspExpert, merge

CARRY = 0.05  # m between the blue cube's top and the red one's underside, while it is carried


class StackExpert(GraspExpert):
    """Takes, carries, lowers, lets go."""

    env: StackEnv

    @property
    def half(self) -> float:
        return self.env.options.half

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        held = self.holds(s)
        return merge(self.env.stacked(s), self._release(s, held), merge(held, self._carry(s, held), self.take(rows, s)))

    def _carry(self, s: TableState, held: Tensor) -> Plan:
        """Up where it is, over the blue cube, down on it."""
        red, blue = s.object_pos.unbind(1)
        over = level_error(red, blue) < 0.006
        height = blue[:, 2] + 2 * self.half
        low = red[:, 2] < height + 0.6 * CARRY
        level = pick(low & (level_error(red, blue) > 0.03), red, blue)
        goal = raised(level, pick(over, height - 0.001, height + CARRY))
        yaw = rotations.yaw_of(s.target_rot)
        return Plan(s.hand_pos + goal - red, yaw, held, pick(over, 0.4 + 0 * height, 1 + 0 * height))

    def _release(self, s: TableState, held: Tensor) -> Plan:
        """Open where it is, then up."""
        away = s.hand_pos.clone()
        away[:, 2] += 0.1 * (s.opening > 0.9 * 2 * self.env.arm.finger_travel)
        return Plan(away, rotations.yaw_of(s.target_rot), held & ~held)
