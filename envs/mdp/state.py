"""The state of n legged robots, as the terms see it: float32 tensors with units and frames in their names.

Suffix ``_w``: world frame, ``_b``: base frame. Legs are in the robot's ``leg_names`` order, joints in joint order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .frames import gravity_in_body, rotate_inverse


@dataclass
class LeggedState:
    """Everything a reward, observation or termination may look at. Foot and torque fields lag by one substep."""

    base_pos_w: Tensor  # (n, 3) m
    base_height: Tensor  # (n,) m above the ground below the base
    gravity_b: Tensor  # (n, 3) unit gravity direction
    lin_vel_b: Tensor  # (n, 3) m/s
    ang_vel_b: Tensor  # (n, 3) rad/s
    joint_pos: Tensor  # (n, J) rad
    joint_vel: Tensor  # (n, J) rad/s
    joint_offset: Tensor  # (n, J) rad, joint_pos - default
    torque: Tensor  # (n, J) N m
    action: Tensor  # (n, J) policy units, and the two before it
    action_1: Tensor
    action_2: Tensor
    command: Tensor  # (n, 3) forward m/s, left m/s, yaw rate rad/s; base frame
    moving: Tensor  # (n,) bool, the command asks for motion
    phase: Tensor  # (n, L) gait phase of each leg in [0, 1), stance first
    foot_height: Tensor  # (n, L) m, sole above the ground
    foot_vel_w: Tensor  # (n, L, 3) m/s
    contact: Tensor  # (n, L) bool, foot touches something
    air_time: Tensor  # (n, L) s since the foot left the ground, before this step's touch-down cleared it
    landed: Tensor  # (n, L) bool, touch-down at this step
    body_contact: Tensor  # (n,) number of contacts of anything but the feet; 0 in feet-only collision mode
    encoder_bias: Tensor  # (n, J) rad, added to what the encoders report
    friction: Tensor  # (n,) of the feet
    added_mass: Tensor  # (n,) kg on the base
    com_shift: Tensor  # (n, 3) m of the base's centre of mass, base frame
    height_scan: Tensor  # (n, P) m, base height above the ground at P points around the base; P may be 0

    def select(self, worlds: Tensor) -> LeggedState:
        """The rows of these worlds."""
        return LeggedState(*(getattr(self, field.name)[worlds] for field in fields(self)))


def base_motion(qpos: Tensor, qvel: Tensor) -> dict[str, Tensor]:
    """Base fields of :class:`LeggedState` from a free joint's qpos (n, >=7) and qvel (n, >=6).

    A free joint's linear velocity is in the world frame, its angular velocity in the body frame (MuJoCo,
    "Computation", floating objects).
    """
    quat = qpos[:, 3:7]
    return {
        "base_pos_w": qpos[:, :3],
        "gravity_b": gravity_in_body(quat),
        "lin_vel_b": rotate_inverse(quat, qvel[:, :3]),
        "ang_vel_b": qvel[:, 3:6],
    }


def leg_phase(clock: Tensor, offsets: Tensor) -> Tensor:
    """Phase of each leg in [0, 1): clock (n,) in cycles, offsets (L,) in cycles -> (n, L)."""
    return torch.remainder(clock[:, None] + offsets, 1.0)
