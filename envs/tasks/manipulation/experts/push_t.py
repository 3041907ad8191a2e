"""Push-T: one straight push after another, each the one that a quasi-static model likes best.

A block that is pushed slowly moves as if its friction with the table had an ellipsoidal limit surface (Goyal, Ruina
and Papadopoulos 1991; Lynch, Maekawa and Tanie 1992): under a force f at the place r from its centre of mass it moves
by f and turns by (r x f) / c^2, up to a factor, where c is the ratio of the largest moment to the largest force. The
fingers grip better than the table, so the contact sticks and moves by the step p of the push; solved for f, the block
turns by (r x p) / (c^2 + r^2), and its centre moves by p less what that turn moves the contact.
Legend: n worlds; C candidate pushes, a contact and a direction each; T lengths.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....mdp import rotations
from ..env import ManipulationEnv
from ..push_t import RECTANGLES
from ..state import TableState
from .expert import Expert, Plan, level_error, pick, raised

HOVER, LOW = 0.07, 0.02  # m
GAP = 0.008  # m between block and fingers before a push
FINGER = 0.010  # m, half the width of the closed fingers
CLEAR = 0.016  # m that the fingers' axis keeps from the block when it comes down
ARM = 0.060  # m, the c above: the mean distance of the T's points from its centre, for an even pressure
SLANTS = (-0.5, 0.0, 0.5)  # rad between a push and the outline's normal
STEP, STEPS = 0.005, 20  # m, and number of the lengths that are tried
SPEED, SLOWEST, BRAKE = 0.7, 0.15, 0.06  # shares of full speed while pushing; m before the end, of braking
OVERHEAD = 14.0  # control steps that a push costs besides pushing
WEIGHT = (0.05, 0.10)  # m, how much an error of 1 rad counts, by mode
FAR = 0.04  # m, below this error both modes weigh alike
CHOOSE, ABOVE, DOWN, PUSHING, UP = range(5)


class PushTExpert(Expert):
    """Mode 0 cares for the block's place first, mode 1 for its orientation."""

    def __init__(self, env: ManipulationEnv, noise: float = 0.0, seed: int = 0) -> None:
        n = env.num_rows
        self._points, self._ways = (part.to(env.device) for part in pushes())
        self._contact, self._start, self._way = torch.zeros(3, n, 2, device=env.device)
        self._length = torch.zeros(n, device=env.device)
        super().__init__(env, noise, seed)

    def plan(self, rows: Tensor, s: TableState) -> Plan:
        stage = self.stage[rows]
        if (stage == CHOOSE).any():
            which = stage == CHOOSE
            self._choose(rows[which], TableState(**{name: value[which] for name, value in vars(s).items()}))
        stage = self._advance(rows, s, stage)
        start, way = self._start[rows], self._way[rows]
        ahead = start + way * (self._length[rows] + 0.04)[:, None]
        here = s.hand_pos
        spots = [here, raised(start, HOVER), raised(start, LOW), raised(ahead, LOW), raised(here, HOVER)]
        spots[ABOVE] = pick(here[:, 2] < HOVER - 0.015, raised(here, HOVER), spots[ABOVE])
        position = torch.stack(spots, dim=1)[torch.arange(len(rows), device=rows.device), stage]
        yaw = torch.zeros_like(here[:, 0])
        gone = ((here[:, :2] - start) * way).sum(-1)
        speed = (SPEED * (self._length[rows] - gone) / BRAKE).clamp(SLOWEST, SPEED)
        speed = torch.where(stage == PUSHING, speed, 1.0)
        return Plan(position, yaw, torch.ones_like(stage, dtype=torch.bool), speed)

    def _weight(self, rows: Tensor, lack: Tensor) -> Tensor:
        """Metres that an error of 1 rad counts as, (n,); lack: what the block lacks, x, y [m] and yaw [rad], (n, 3)."""
        even = sum(WEIGHT) / 2
        weight = lack.new_tensor(WEIGHT)[self.mode[rows]]
        close = lack[:, :2].norm(dim=-1) + even * lack[:, 2].abs() < FAR
        return torch.where(close, even, weight)

    def _choose(self, rows: Tensor, s: TableState) -> None:
        """The push that takes away most of the error in its time."""
        lack, turn, centre = lacking(s), s.object_rot[:, 0, :2, :2], s.object_pos[:, 0, :2]
        points, ways = self._points @ turn.mT, self._ways @ turn.mT  # (n, C, 2)
        motion = slide(points, ways)
        left = torch.cat([lack[:, None, None, :2] - motion[..., :2], lack[:, None, None, 2:] - motion[..., 2:]], dim=-1)
        weight = self._weight(rows, lack)
        before, after = size(lack, weight), size(left, weight[:, None, None])
        offset = FINGER * ways.abs().sum(-1) + GAP
        start = centre[:, None] + points - ways * offset[..., None]
        step = self.env.config.position_scale
        travel = (start - s.hand_pos[:, None, :2]).norm(dim=-1) / step
        lengths = STEP * torch.arange(1, STEPS + 1, device=rows.device)
        time = OVERHEAD + travel[..., None] + (lengths + GAP) / (SPEED * step)
        score = (before[:, None, None] - after) / time
        score = score.masked_fill(~self._free(start, centre, turn)[..., None], -1.0)
        best = score.flatten(1).argmax(dim=-1)
        push, length, at = best // STEPS, best % STEPS, torch.arange(len(rows), device=rows.device)
        self._contact[rows], self._start[rows] = self._points[push], start[at, push]
        self._way[rows], self._length[rows] = ways[at, push], lengths[length] + GAP

    def _free(self, start: Tensor, centre: Tensor, turn: Tensor) -> Tensor:
        """(n, C) bool: the fingers can come down there, beside the block and inside the workspace."""
        c = self.env.config
        low, high = start.new_tensor(c.workspace_low[:2]), start.new_tensor(c.workspace_high[:2])
        inside = ((start > low) & (start < high)).all(-1)
        return inside & (distance((start - centre[:, None]) @ turn) > CLEAR)

    def _advance(self, rows: Tensor, s: TableState, stage: Tensor) -> Tensor:
        """The stage of each row, (n,)."""
        hand, start = s.hand_pos, self._start[rows]
        stage = torch.where(stage == CHOOSE, ABOVE, stage)
        there = level_error(hand, raised(start, 0.0)) < 0.01
        stage = stage + ((stage == ABOVE) & there)
        stage = stage + ((stage == DOWN) & (hand[:, 2] < LOW + 0.01))
        stage = stage + ((stage == PUSHING) & self._pushed(rows, s))
        stage = torch.where((stage == UP) & (hand[:, 2] > HOVER - 0.02), CHOOSE, stage)
        self.stage[rows] = stage
        return torch.where(stage == CHOOSE, UP, stage)

    def _pushed(self, rows: Tensor, s: TableState) -> Tensor:
        """(n,) bool: going on would not help, or the push is longer than it was planned."""
        lack, way = lacking(s), self._way[rows]
        gone = ((s.hand_pos[:, :2] - self._start[rows]) * way).sum(-1)
        point = (s.object_rot[:, 0, :2, :2] @ self._contact[rows][..., None])[..., 0]
        weight = self._weight(rows, lack)
        further = lack - slide(point[:, None], way[:, None], steps=1)[:, 0, 0]
        spent = size(further, weight) >= size(lack, weight)
        return ((gone > GAP + STEP) & spent) | (gone > self._length[rows] + 0.01)


def lacking(s: TableState) -> Tensor:
    """From the block's pose to the goal, (n, 3): x, y [m], yaw [rad]."""
    turn = rotations.wrap(s.goal[:, 2] - rotations.yaw_of(s.object_rot[:, 0]))
    return torch.cat([s.goal[:, :2] - s.object_pos[:, 0, :2], turn[:, None]], dim=-1)


def size(lack: Tensor, weight: Tensor) -> Tensor:
    """An error (..., 3) as a length [m], (...,)."""
    return (lack[..., :2].square().sum(-1) + (weight * lack[..., 2]).square()).sqrt()


def slide(point: Tensor, way: Tensor, steps: int = STEPS) -> Tensor:
    """How the block moves, (n, C, steps, 3): x, y [m], yaw [rad] after each STEP of pushes along ``way`` (n, C, 2).

    point: (n, C, 2), from the centre of mass to the contact, in the world's directions.
    """
    motion, path = point.new_zeros(*point.shape[:2], 3), []
    for _ in range(steps):
        c, s = torch.cos(motion[..., 2]), torch.sin(motion[..., 2])
        lever = torch.stack([c * point[..., 0] - s * point[..., 1], s * point[..., 0] + c * point[..., 1]], dim=-1)
        across = torch.stack([-lever[..., 1], lever[..., 0]], dim=-1)
        turn = STEP * (across * way).sum(-1) / (ARM**2 + lever.square().sum(-1))
        motion = motion + torch.cat([STEP * way - turn[..., None] * across, turn[..., None]], dim=-1)
        path.append(motion)
    return torch.stack(path, dim=2)


def contacts(spacing: float = 0.008, margin: float = 0.006) -> tuple[Tensor, Tensor]:
    """Points on the T's outline, ``margin`` from its corners, and the normals into it, (C, 2) each; the T's frame."""
    points, normals = [], []
    for centre, half in RECTANGLES:
        for axis in (0, 1):
            for side in (-1.0, 1.0):
                reach = half[1 - axis] - margin
                for shift in torch.linspace(-reach, reach, max(2, round(2 * reach / spacing))).tolist():
                    point, normal = [0.0, 0.0], [0.0, 0.0]
                    point[axis], point[1 - axis] = centre[axis] + side * half[axis], centre[1 - axis] + shift
                    normal[axis] = -side
                    points.append(point)
                    normals.append(normal)
    found, inward = torch.tensor(points), torch.tensor(normals)
    outline = distance(found - 0.002 * inward) > 0.001  # not where bar and stem meet
    return found[outline], inward[outline]


def pushes() -> tuple[Tensor, Tensor]:
    """Contacts and directions of pushes, (C, 2) each, in the T's frame: every contact, every slant."""
    points, normals = contacts()
    ways = [normals @ rotations.about_z(torch.tensor(slant))[:2, :2].mT for slant in SLANTS]
    return points.repeat(len(SLANTS), 1), torch.cat(ways)


def distance(point: Tensor) -> Tensor:
    """From points (..., 2) in the T's frame to the T [m], 0 inside."""
    gaps = []
    for centre, half in RECTANGLES:
        gaps.append(((point - point.new_tensor(centre)).abs() - point.new_tensor(half)).clamp_min(0).norm(dim=-1))
    return torch.minimum(*gaps)
