"""Push: behind the cube, coming from its left or its right, then straight to the goal."""

from __future__ import annotations

import torch
from torch import Tensor

from ....mdp import rotations
from ..push import PushEnv
from ..state import TableState
from .expert import Expert, Plan, level_error, pick, raised

HOVER, LOW = 0.10, 0.02  # m, heights of the finger tips while travelling and while pushing
ASIDE = 0.07  # m from the place behind the cube, where the fingers come down
SPEED = 0.5  # share of full speed while pushing
ABOVE, DOWN, BEHIND, PUSHING = range(4)


class PushExpert(Expert):
    """Mode 0 comes down to the left of the way to the goal and goes behind the cube from there, mode 1 to the right."""

    env: PushEnv

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        options = self.env.options
        cube = s.object_pos[:, 0]
        way = s.goal - cube[:, :2]
        ahead = way / way.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        left = torch.stack([-ahead[:, 1], ahead[:, 0]], dim=-1) * (1.0 - 2.0 * self.mode[rows].float())[:, None]
        reach = _half_width(s.object_rot[:, 0], ahead, options.half) + 0.012  # 12 mm: half the fingers, and a gap
        behind = raised(cube[:, :2] - ahead * (reach + 0.02)[:, None], LOW)
        aside = behind.clone()
        aside[:, :2] += ASIDE * left
        stage = self._advance(rows, s, cube, ahead, aside, behind)
        # Pushing: keep on the line behind the cube, lead as far as it has to go yet, and stop short of where it would
        # have to be pushed back.
        left_over = way.norm(dim=-1, keepdim=True)
        contact = raised(cube[:, :2] - ahead * (reach[:, None] - left_over.clamp_max(0.03)), LOW)
        contact = pick(left_over[:, 0] < 0.5 * options.tolerance, raised(s.hand_pos, LOW), contact)
        beside = level_error(s.hand_pos, aside) > 0.03
        rising = pick(beside & (s.hand_pos[:, 2] < HOVER - 0.03), s.hand_pos, aside)
        spots = torch.stack([raised(rising, HOVER), aside, behind, contact], dim=1)
        position = spots[torch.arange(len(rows), device=rows.device), stage]
        yaw = rotations.yaw_of(s.target_rot)
        speed = torch.where(stage == PUSHING, SPEED, 1.0)
        return Plan(position, yaw, torch.ones_like(stage, dtype=torch.bool), speed)

    def _advance(
        self, rows: Tensor, s: TableState, cube: Tensor, ahead: Tensor, aside: Tensor, behind: Tensor
    ) -> Tensor:
        """The stage of each row, (n,); back to the first one where the fingers slipped off the cube."""
        stage, hand = self.stage[rows], s.hand_pos
        offset = hand[:, :2] - cube[:, :2]
        along = (offset * ahead).sum(-1)
        across = (offset - along[:, None] * ahead).norm(dim=-1)
        slipped = (stage == PUSHING) & ((across > 0.03) | (along > 0.0))
        stage = pick(slipped, torch.zeros_like(stage), stage)
        stage = stage + ((stage == ABOVE) & (level_error(hand, aside) < 0.015) & (hand[:, 2] > HOVER - 0.03))
        stage = stage + ((stage == DOWN) & (hand[:, 2] < LOW + 0.01))
        stage = stage + ((stage == BEHIND) & (level_error(hand, behind) < 0.012))
        self.stage[rows] = stage
        return stage


def _half_width(rotation: Tensor, direction: Tensor, half: float) -> Tensor:
    """From the centre of a square (n, 3, 3), ``half`` its edge, to its boundary along a direction (n, 2), (n,)."""
    local = (rotation[:, :2, :2].mT @ direction[..., None])[..., 0]
    return half / local.abs().amax(-1).clamp_min(0.5)
