"""What observations, success and progress of a tabletop task look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class TableState:
    """n worlds with K objects, in the world frame; m, rad, s.

    The hand's frame is the point between the finger tips: z out of the hand, y along the motion of the fingers.
    """

    joint_pos: Tensor  # (n, J)
    joint_vel: Tensor  # (n, J)
    finger_pos: Tensor  # (n, 2) distance of each finger from the middle of the hand
    finger_vel: Tensor  # (n, 2)
    hand_pos: Tensor  # (n, 3)
    hand_rot: Tensor  # (n, 3, 3)
    hand_vel: Tensor  # (n, 6) linear and angular
    target_pos: Tensor  # (n, 3) where the hand is asked to be
    target_rot: Tensor  # (n, 3, 3)
    object_pos: Tensor  # (n, K, 3)
    object_rot: Tensor  # (n, K, 3, 3)
    object_lin_vel: Tensor  # (n, K, 3)
    object_ang_vel: Tensor  # (n, K, 3) in the object's frame
    goal: Tensor  # (n, G) what the task calls its goal
    friction: Tensor  # (n,) of the objects
    mass_scale: Tensor  # (n,) of the objects

    @property
    def opening(self) -> Tensor:
        """Distance between the finger tips, (n,)."""
        return self.finger_pos.sum(-1)

    def object_still(self, index: int = 0, speed: float = 0.05) -> Tensor:
        """(n,) bool: the object moves slower than ``speed`` [m/s], and turns slower than 1 rad/s."""
        slow = self.object_lin_vel[:, index].norm(dim=-1) < speed
        return slow & (self.object_ang_vel[:, index].norm(dim=-1) < 1.0)

    def held(self, index: int, half_width: float) -> Tensor:
        """(n,) bool: the object, ``half_width`` thick on either side, is between the fingers, and these touch it."""
        near = (self.object_pos[:, index] - self.hand_pos).norm(dim=-1) < half_width
        return near & (self.opening < 2 * half_width + 0.004)


def closeness(distance: Tensor, scale: float) -> Tensor:
    """From 1 at distance 0 towards 0, one half at 0.55 ``scale`` [m]."""
    return 1 - torch.tanh(distance / scale)
