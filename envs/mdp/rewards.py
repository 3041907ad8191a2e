"""Reward terms of legged locomotion. Each is a pure function of :class:`LeggedState`, returning (n,).

A task's YAML gives the weight and the keyword parameters; the weighted sum times the control period is the reward.
Laws follow rsl_rl / legged_gym (tracking kernels, penalties), MuJoCo Playground's Go1 joystick task (clearance, slip,
energy) and phase-based gaits (Siekmann et al. 2021, arXiv 2011.01387, section III).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .state import LeggedState


def track_lin_vel(s: LeggedState, sigma: float = 0.25) -> Tensor:
    """exp(-|v_xy - command|^2 / sigma); sigma in (m/s)^2."""
    return torch.exp(s.lin_vel_error_sq / -sigma)


def track_ang_vel(s: LeggedState, sigma: float = 0.25) -> Tensor:
    """exp(-(yaw rate - command)^2 / sigma); sigma in (rad/s)^2."""
    return torch.exp(s.yaw_rate_error.square() / -sigma)


def lin_vel_z(s: LeggedState) -> Tensor:
    """Squared vertical velocity of the base [(m/s)^2]."""
    return s.lin_vel_b[:, 2].square()


def ang_vel_xy(s: LeggedState) -> Tensor:
    """Squared roll and pitch rates [(rad/s)^2]."""
    return s.ang_vel_b[:, :2].square().sum(-1)


def orientation(s: LeggedState) -> Tensor:
    """Squared sine of the tilt."""
    return s.tilt_sq


def base_height(s: LeggedState, target: float) -> Tensor:
    """Squared deviation of the base's height above ground from ``target`` [m^2]."""
    return (s.base_height - target).square()


def pose(s: LeggedState, standing_scale: float = 1.0) -> Tensor:
    """Mean |joint position - default| [rad], weighted by ``standing_scale`` where the robot stands, calm."""
    deviation = s.joint_offset.abs().mean(-1)
    return torch.where(s.resting, deviation * standing_scale, deviation)


def hip_deviation(s: LeggedState) -> Tensor:
    """Mean squared deviation of the abduction joints (the first of each leg's three) [rad^2]."""
    return s.joint_offset[:, ::3].square().mean(-1)


def action_rate(s: LeggedState) -> Tensor:
    """Sum of squared changes of the action."""
    return (s.action - s.action_1).square().sum(-1)


def action_smoothness(s: LeggedState) -> Tensor:
    """Sum of squared second differences of the action."""
    return (s.action - 2 * s.action_1 + s.action_2).square().sum(-1)


def torque(s: LeggedState) -> Tensor:
    """Sum of squared joint torques [(N m)^2]."""
    return s.torque.square().sum(-1)


def energy(s: LeggedState) -> Tensor:
    """Sum of |torque x joint velocity| [W]."""
    return (s.torque * s.joint_vel).abs().sum(-1)


def joint_velocity(s: LeggedState) -> Tensor:
    """Sum of squared joint velocities [(rad/s)^2]."""
    return s.joint_vel.square().sum(-1)


def joint_limits(s: LeggedState, low: Tensor, high: Tensor, margin: float = 0.05) -> Tensor:
    """Sum of how far joints are beyond their limits less ``margin`` [rad]."""
    return ((low + margin - s.joint_pos).relu() + (s.joint_pos - high + margin).relu()).sum(-1)


def gait_contact(s: LeggedState, duty: float) -> Tensor:
    """Fraction of the feet whose contact agrees with the gait: stance for phase < duty, all stance at a stand.

    While no motion is asked for but the base is not calm yet, every contact agrees: a robot that brakes or was pushed
    has to be free to step.
    """
    stance = (s.phase < duty) | s.standing[:, None]
    free = s.standing & ~s.calm
    return (s.contact == stance).mean(-1, dtype=torch.float32).masked_fill(free, 1.0)


def swing_height(s: LeggedState, duty: float, height: float) -> Tensor:
    """Squared error of the swinging feet's height against a half sine of amplitude ``height`` [m^2], summed."""
    angle = (s.phase - duty) * (math.pi / (1.0 - duty))  # from 0 to pi within the swing, negative in stance
    swinging = (angle >= 0.0) & s.moving[:, None]
    return ((s.foot_height - height * torch.sin(angle)).square() * swinging).sum(-1)


def swing_peak(s: LeggedState, duty: float, height: float, sigma: float = 0.03) -> Tensor:
    """exp(-(height error / sigma)^2) of the swinging feet, averaged over the swinging ones; 1 at a stand."""
    progress = ((s.phase - duty) / (1.0 - duty)).clamp_min(0.0)
    error = (s.foot_height - height * torch.sin(math.pi * progress)) / sigma
    swinging = ((s.phase >= duty) & s.moving[:, None]).float()
    match = (torch.exp(-error.square()) * swinging).sum(-1)
    count = swinging.sum(-1)
    return torch.where(count > 0, match / count.clamp_min(1.0), 1.0)


def foot_slip(s: LeggedState) -> Tensor:
    """Sum of squared horizontal velocities of the feet in contact [(m/s)^2]."""
    x, y, _ = s.foot_vel_w.unbind(-1)
    return ((x.square() + y.square()) * s.contact).sum(-1)


def foot_impact(s: LeggedState) -> Tensor:
    """Sum of squared downward velocities of the feet that touch down [(m/s)^2]."""
    return (s.foot_vel_w[..., 2].clamp_max(0.0).square() * s.landed).sum(-1)


def air_time(s: LeggedState, target: float = 0.2) -> Tensor:
    """Sum over touch-downs of (time in the air - target) [s], while motion is asked for."""
    return ((s.air_time - target) * s.landed).sum(-1) * s.moving


def stand_still(s: LeggedState) -> Tensor:
    """Sum of |joint position - default| [rad] where no motion is asked for."""
    return s.joint_offset.abs().sum(-1) * s.standing


def body_contact(s: LeggedState) -> Tensor:
    """Number of contacts of anything but the feet."""
    return s.body_contact


def alive(s: LeggedState) -> Tensor:
    """One."""
    return torch.ones_like(s.base_height)


def upright(s: LeggedState) -> Tensor:
    """(1 + cos tilt) / 2: 1 upright, 0 upside down."""
    return (1.0 - s.gravity_b[:, 2]) / 2


def height_reached(s: LeggedState, target: float) -> Tensor:
    """Base height over ``target`` [m], at most 1, as far as the base is upright."""
    return (s.base_height / target).clamp(0.0, 1.0) * upright(s)


def stance_reached(s: LeggedState, sigma: float = 0.25, degrees: float = 30.0) -> Tensor:
    """exp(-mean squared joint deviation / sigma) while the base tilts less than ``degrees``; sigma in rad^2."""
    level = s.gravity_b[:, 2] < -math.cos(math.radians(degrees))
    return torch.exp(-s.joint_offset.square().mean(-1) / sigma) * level


def rest(s: LeggedState, sigma: float = 1.0, degrees: float = 30.0) -> Tensor:
    """exp(-mean squared joint velocity / sigma) while the base tilts less than ``degrees``; sigma in (rad/s)^2."""
    level = s.gravity_b[:, 2] < -math.cos(math.radians(degrees))
    return torch.exp(-s.joint_vel.square().mean(-1) / sigma) * level
