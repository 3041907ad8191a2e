"""The scripted expert: from above down on the object, up, over, down on the receptacle, open, away.

It is narrow on purpose: always the same way, never a second try, so that demonstrations show no recovery.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...mdp import rotations
from ..manipulation.experts.expert import Expert, Plan, level_error, pick, raised
from ..manipulation.state import TableState
from .env import TabletopEnv
from .state import PlateState

HOVER = 0.07  # m above the point of grasp before going down
CARRY = 0.06  # m between the object's place of rest and where it is carried
LIFTED = 0.035  # m that the object has to be up before it moves sideways
DOWN = 0.004  # m above its place of rest where the object is let go
LOWERING = 0.4  # share of full speed, so that the object does not slip up between the fingers when it lands
TAKE, BRING, RELEASE = range(3)


class PutExpert(Expert):
    """Puts the object of the instruction on the receptacle of the instruction."""

    env: TabletopEnv

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        assert isinstance(s, PlateState)
        stage = self._advance(rows, s)
        closed = stage == BRING
        take, arrived = self._take(s)
        closed = closed | ((stage == TAKE) & arrived)
        position = pick(stage == TAKE, take, pick(stage == BRING, self._bring(s), self._leave(s)))
        yaw = torch.where(stage == TAKE, self._yaw(s), rotations.yaw_of(s.target_rot))
        lowering = (stage == BRING) & self._over(s)
        return Plan(position, yaw, closed, torch.where(lowering, LOWERING, 1.0))

    def _advance(self, rows: Tensor, s: PlateState) -> Tensor:
        """The stage of each row, (n,): on once the object is held, and once it is down."""
        stage = self.stage[rows]
        gripped = (s.holding[:, 0] > 0) & (s.finger_vel.abs().amax(-1) < 0.01)
        down = self._over(s) & (s.object_pos[:, 0, 2] < s.rest + 2 * DOWN)
        stage = stage + ((stage == TAKE) & gripped) + ((stage == BRING) & down)
        self.stage[rows] = stage
        return stage

    def _yaw(self, s: PlateState) -> Tensor:
        """(n,) of the hand: across the object's narrow side, by the smaller turn; 0 for what is round."""
        yaw = rotations.yaw_of(s.object_rot[:, 0])
        turned = torch.where(s.symmetry > 2, rotations.wrap(yaw, torch.pi), rotations.wrap(yaw, torch.pi / 2))
        return torch.where(s.symmetry > 0, turned, 0.0)

    def _take(self, s: PlateState) -> tuple[Tensor, Tensor]:
        """Where to go to take the object (n, 3), and (n,) bool: there."""
        spot = s.object_pos[:, 0].clone()
        spot[:, 2] += s.grasp
        low = s.hand_pos[:, 2] < spot[:, 2] + 0.6 * HOVER
        error = rotations.wrap(rotations.yaw_of(s.hand_rot) - self._yaw(s), torch.pi).abs()
        over = (level_error(s.hand_pos, spot) < torch.where(low, 0.015, 0.010)) & (error < torch.where(low, 0.2, 0.1))
        # What has begun is given up less easily than begun: closing fingers move the object.
        closing = s.opening < 0.9 * 2 * self.env.arm.finger_travel
        centred = (level_error(s.hand_pos, spot) < 0.006) & (error < 0.05) & ((s.hand_pos[:, 2] - spot[:, 2]) < 0.008)
        arrived = torch.where(closing, (s.hand_pos - spot).norm(dim=-1) < 0.025, over & centred)
        hover = raised(pick(low, s.hand_pos, spot), spot[:, 2] + HOVER)
        return pick(over, spot, hover), arrived

    def _over(self, s: PlateState) -> Tensor:
        """(n,) bool: the object is above the middle of its receptacle."""
        return level_error(s.object_pos[:, 0], s.base_pos[:, 0]) < 0.012

    def _bring(self, s: PlateState) -> Tensor:
        """Up, over, down: where the hand has to be for that, (n, 3)."""
        thing, base = s.object_pos[:, 0], s.base_pos[:, 0]
        near = level_error(thing, base) < 0.04
        level = pick((thing[:, 2] < s.rest + LIFTED) & ~near, thing, base)
        goal = raised(level, torch.where(self._over(s), s.rest + DOWN, s.rest + CARRY))
        return s.hand_pos + goal - thing

    def _leave(self, s: PlateState) -> Tensor:
        """Open, then up, (n, 3)."""
        away = s.hand_pos.clone()
        away[:, 2] += 0.1 * (s.holding[:, 0] == 0)
        return away


def make_expert(env: TabletopEnv, noise: float = 0.0, seed: int = 0) -> PutExpert:
    """The expert of ``put_on_plate``; see :class:`Expert`."""
    return PutExpert(env, noise=noise, seed=seed)
