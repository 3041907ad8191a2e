"""Reach: on an arc to the left or to the right of the straight line."""

from __future__ import annotations

import torch
from torch import Tensor

from ....mdp import rotations
from ..state import TableState
from .expert import Expert, Plan

BEND = 0.5  # metres aside, per metre still to go


class ReachExpert(Expert):
    """Mode 0 passes left of the line from the hand to the goal, mode 1 right of it."""

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        way = s.goal - s.hand_pos
        side = (1.0 - 2.0 * self.mode[rows].float())[:, None]
        aside = BEND * side * torch.stack([-way[:, 1], way[:, 0], torch.zeros_like(way[:, 0])], dim=-1)
        yaw = rotations.yaw_of(s.target_rot)
        return Plan(s.goal + aside, yaw, torch.ones_like(yaw, dtype=torch.bool))
