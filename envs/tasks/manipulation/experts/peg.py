"""Peg insertion: take the peg near its upper end, bring its lower end over the hole, turn it in line, lower it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....mdp import rotations
from ..peg_insertion import PegInsertionEnv
from ..state import TableState
from .expert import Plan, pick
from .grasp import GraspExpert, merge

CARRY = 0.025  # m between the hole's mouth and the peg's lower end, while it is carried
WAIT = 0.005  # m, the same while it is aligned


class PegExpert(GraspExpert):
    """Takes, carries, aligns, inserts."""

    env: PegInsertionEnv

    @property
    def half(self) -> float:
        return self.env.options.half_width

    @property
    def lift(self) -> float:
        return 0.5 * self.env.options.half_length

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        held = self.holds(s)
        return merge(held, self._insert(s), self.take(rows, s))

    def _insert(self, s: TableState) -> Plan:
        options, tip = self.env.options, self.env.tip_in_block(s)
        peg, block = rotations.yaw_of(s.object_rot).unbind(1)
        turn = rotations.wrap(block - peg, math.pi / 2)
        off = tip[:, :2].abs().amax(-1)
        inside = (tip[:, 2] < -0.002) & (off < 0.005)
        aligned = ((off < 0.75 * options.clearance) & (turn.abs() < 0.04)) | inside
        low = ~inside & (tip[:, 2] < 0.6 * CARRY) & (off > 0.02)
        move = torch.zeros_like(tip)
        move[:, :2] = pick(low, torch.zeros_like(tip[:, :2]), -tip[:, :2])
        waiting = torch.where(off < 0.006, WAIT, CARRY)  # low over the hole, so that one good moment is enough
        move[:, 2] = pick(aligned, -options.depth - 0.006 - tip[:, 2], waiting - tip[:, 2])
        move = (s.object_rot[:, 1] @ move[..., None])[..., 0]
        yaw = rotations.yaw_of(s.hand_rot) + turn
        speed = pick(aligned, torch.full_like(turn, 0.35), torch.ones_like(turn))
        return Plan(s.hand_pos + move, yaw, torch.ones_like(aligned), speed)
