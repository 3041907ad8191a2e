"""Taking a square object from above: over it, down, close. Shared by every expert that has to hold something."""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from ....mdp import rotations
from ..env import ManipulationEnv
from ..state import TableState
from .expert import Expert, Plan, level_error, pick, raised

HOVER = 0.08  # m between finger tips and the point of grasp, while travelling


class GraspExpert(Expert):
    """Mode 0 takes the faces that need the smaller turn of the hand, mode 1 the other pair."""

    def __init__(self, env: ManipulationEnv, noise: float = 0.0, seed: int = 0) -> None:
        self._yaw = torch.zeros(env.num_rows, device=env.device)
        super().__init__(env, noise, seed)

    @property
    @abc.abstractmethod
    def half(self) -> float:
        """expert: half the object's width between the fingers [m]."""

    @property
    def lift(self) -> float:
        """expert: m above the object's centre where it is taken."""
        return 0.0

    def begin(self, rows: Tensor, s: TableState) -> None:
        """Choose the faces."""
        yaw = rotations.wrap(rotations.yaw_of(s.object_rot[:, 0]), math.pi / 2)
        other = yaw - torch.where(yaw < 0, -1.0, 1.0) * math.pi / 2
        self._yaw[rows] = torch.where(self.mode[rows] == 0, yaw, other)

    def grasp_yaw(self, rows: Tensor, s: TableState) -> Tensor:
        """The hand's yaw for the faces chosen at the start, (n,), also after the object was turned."""
        turned = rotations.wrap(rotations.yaw_of(s.object_rot[:, 0]) - self._yaw[rows], math.pi / 2)
        self._yaw[rows] = self._yaw[rows] + turned
        return self._yaw[rows]

    def take(self, rows: Tensor, s: TableState) -> Plan:
        """The plan that ends with the object between closed fingers."""
        yaw, hand = self.grasp_yaw(rows, s), s.hand_pos
        spot = s.object_pos[:, 0].clone()
        spot[:, 2] += self.lift
        low = hand[:, 2] < spot[:, 2] + 0.6 * HOVER
        closing = s.opening < 0.9 * 2 * self.env.arm.finger_travel
        # What has begun is given up less easily than begun: noise must not undo it.
        turned = rotations.wrap(rotations.yaw_of(s.hand_rot) - yaw).abs() < torch.where(low, 0.15, 0.06)
        over = (level_error(hand, spot) < torch.where(low, 0.015, 0.008)) & turned
        arrived = over & ((hand[:, 2] - spot[:, 2]).abs() < torch.where(closing, 0.015, 0.007))
        hover = raised(pick(low, hand, spot), spot[:, 2] + HOVER)
        return Plan(pick(over, spot, hover), yaw, arrived)

    def holds(self, s: TableState) -> Tensor:
        """(n,) bool: the object is between fingers that touch it."""
        spot = s.object_pos[:, 0].clone()
        spot[:, 2] += self.lift
        near = (spot - s.hand_pos).norm(dim=-1) < max(self.half, 0.015)
        return near & (s.opening < 2 * self.half + 0.004)


def merge(condition: Tensor, a: Plan, b: Plan) -> Plan:
    """Plan a where the condition (n,) holds, else b."""

    def speed(plan: Plan) -> Tensor:
        return torch.as_tensor(plan.speed, device=condition.device).expand(len(condition))

    return Plan(
        pick(condition, a.position, b.position),
        pick(condition, a.yaw, b.yaw),
        pick(condition, a.closed, b.closed),
        pick(condition, speed(a), speed(b)),
    )
