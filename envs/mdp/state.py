"""The state of n legged robots, as the terms see it: float32 tensors with units and frames in their names.

A task makes them worlds last in memory, see :mod:`envs.mdp.buffers`. What several terms share is computed once.

Suffix ``_w``: world frame, ``_b``: base frame. Legs are in the robot's ``leg_names`` order, joints in joint order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from .frames import gravity_in_body, rotate_inverse

CALM_SPEED, CALM_TILT = 0.2, 0.1  # m/s; sine


@dataclass
class LeggedState:
    """Everything a reward, observation or termination may look at. Foot and torque fields lag by one substep.

    What is cached is for rewards, terminations and figures: a push that follows them changes ``lin_vel_b`` alone.
    """

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
    stiffness: Tensor  # (n, J) of the motors, over nominal
    damping: Tensor  # (n, J) of the motors, over nominal
    link_mass: Tensor  # (n, K) of the links, over nominal
    action_delay: Tensor  # (n,) s
    observation_delay: Tensor  # (n,) s
    height_scan: Tensor  # (n, P) m, base height above the ground at P points around the base; P may be 0

    @cached_property
    def speed_sq(self) -> Tensor:
        """(n,) squared speed of the base along its x and y [(m/s)^2]."""
        return self.lin_vel_b[:, :2].square().sum(-1)

    @cached_property
    def tilt_sq(self) -> Tensor:
        """(n,) squared sine of the tilt."""
        return self.gravity_b[:, :2].square().sum(-1)

    @cached_property
    def calm(self) -> Tensor:
        """(n,) bool: slower than ``CALM_SPEED``, tilted by less than ``CALM_TILT``."""
        return (self.speed_sq < CALM_SPEED**2) & (self.tilt_sq < CALM_TILT**2)

    @cached_property
    def standing(self) -> Tensor:
        """(n,) bool: no motion is asked for."""
        return ~self.moving

    @cached_property
    def resting(self) -> Tensor:
        """(n,) bool: no motion is asked for, and the robot is calm."""
        return self.standing & self.calm

    @cached_property
    def lin_vel_error_sq(self) -> Tensor:
        """(n,) |v_xy - command|^2 [(m/s)^2]."""
        return (self.lin_vel_b[:, :2] - self.command[:, :2]).square().sum(-1)

    @cached_property
    def yaw_rate_error(self) -> Tensor:
        """(n,) yaw rate - command [rad/s]."""
        return self.ang_vel_b[:, 2] - self.command[:, 2]

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
    return torch.remainder(clock + offsets[:, None], 1.0).t()  # worlds last
