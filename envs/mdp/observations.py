"""Observation terms of legged locomotion: pure functions of :class:`LeggedState`, returning (n, k).

``@_term`` says what a term is to a robot and to a mirror: unit, frame, and how a left-right reflection acts on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .state import LeggedState


@dataclass(frozen=True)
class TermInfo:
    """unit, frame: as in :class:`embodied.types.ObsTerm`.

    mirror: ``polar`` (position-like vector), ``axial`` (rotation-like vector), ``planar_command`` (vx, vy, yaw rate),
        ``joint``, ``motor`` and ``link`` (a joint's and a link's scalar), ``leg``, ``scan``, ``none`` (invariant),
        ``gait`` (the clock: in a trot, left-right is half a cycle).
    """

    unit: str
    frame: str
    mirror: str
    measured: bool = True
    sensed: bool = True


def _term(
    unit: str, frame: str, mirror: str, measured: bool = True, sensed: bool = True
) -> Callable[[Callable], Callable]:
    """Attach :class:`TermInfo` to an observation function.

    measured: a robot's own sensors or its controller give it.  sensed: it comes through sensors, which may be late.
    """

    def attach(function: Callable) -> Callable:
        function.info = TermInfo(unit, frame, mirror, measured, sensed)  # type: ignore[attr-defined]
        return function

    return attach


@_term("rad/s", "base", "axial")
def base_ang_vel(s: LeggedState) -> Tensor:
    """Angular velocity (gyroscope)."""
    return s.ang_vel_b


@_term("1", "base", "polar")
def projected_gravity(s: LeggedState) -> Tensor:
    """Unit gravity direction."""
    return s.gravity_b


@_term("m/s, m/s, rad/s", "base", "planar_command", sensed=False)
def command(s: LeggedState) -> Tensor:
    """Commanded forward and left velocity and yaw rate."""
    return s.command


@_term("rad", "joint", "joint")
def joint_pos(s: LeggedState) -> Tensor:
    """Measured joint position less the default."""
    return s.joint_offset + s.encoder_bias


@_term("rad/s", "joint", "joint")
def joint_vel(s: LeggedState) -> Tensor:
    """Joint velocity."""
    return s.joint_vel


@_term("1", "joint", "joint", sensed=False)
def last_action(s: LeggedState) -> Tensor:
    """The policy's previous output."""
    return s.action


@_term("1", "-", "gait", sensed=False)
def gait_clock(s: LeggedState, frequency: float, offset: float, dead_band: float, settle_s: float) -> Tensor:
    """(sin, cos) of the first leg's phase; (0, 0) once the command's norm was below ``dead_band`` for ``settle_s``."""
    # The parameters go into the task's spec: from them the robot's runtime computes the same term.
    angle = 2 * math.pi * s.phase[:, 0]
    return (torch.stack([torch.sin(angle), torch.cos(angle)]) * s.moving).t()


@_term("m", "heading", "scan")
def height_scan(s: LeggedState, half_x: float, half_y: float, spacing: float) -> Tensor:
    """Base height above the ground at a grid of points around the base (x-major), less the nominal height."""
    # The parameters go into the task's spec: half extents and spacing of the grid [m].
    return s.height_scan


@_term("m/s", "base", "polar", measured=False)
def base_lin_vel(s: LeggedState) -> Tensor:
    """Linear velocity; no quadruped measures it, so it is for the critic."""
    return s.lin_vel_b


@_term("m", "world", "none", measured=False)
def base_height(s: LeggedState) -> Tensor:
    """Height of the base above the ground."""
    return s.base_height[:, None]


@_term("1", "-", "leg", measured=False)
def foot_contact(s: LeggedState) -> Tensor:
    """1 where a foot touches something."""
    return s.contact.float()


@_term("m", "world", "leg", measured=False)
def foot_height(s: LeggedState) -> Tensor:
    """Height of the soles above the ground."""
    return s.foot_height


@_term("s", "-", "leg", measured=False)
def foot_air_time(s: LeggedState) -> Tensor:
    """Time since the feet left the ground."""
    return s.air_time


@_term("N m", "joint", "joint", measured=False)
def torque(s: LeggedState) -> Tensor:
    """Joint torques."""
    return s.torque


@_term("1", "-", "none", measured=False)
def friction(s: LeggedState) -> Tensor:
    """Sliding friction of the feet."""
    return s.friction[:, None]


@_term("kg", "-", "none", measured=False)
def added_mass(s: LeggedState) -> Tensor:
    """Mass added to the base."""
    return s.added_mass[:, None]


@_term("m", "base", "polar", measured=False)
def com_shift(s: LeggedState) -> Tensor:
    """Shift of the base's centre of mass."""
    return s.com_shift


@_term("1", "-", "motor", measured=False)
def stiffness(s: LeggedState) -> Tensor:
    """Stiffness of the motors over the nominal one."""
    return s.stiffness


@_term("1", "-", "motor", measured=False)
def damping(s: LeggedState) -> Tensor:
    """Damping of the motors over the nominal one."""
    return s.damping


@_term("1", "-", "link", measured=False)
def link_mass(s: LeggedState) -> Tensor:
    """Mass of the links over the nominal one."""
    return s.link_mass


@_term("rad", "joint", "joint", measured=False)
def encoder_bias(s: LeggedState) -> Tensor:
    """What the encoders report beyond the joint position."""
    return s.encoder_bias


@_term("s", "-", "none", measured=False)
def action_delay(s: LeggedState) -> Tensor:
    """Time from an action to its effect."""
    return s.action_delay[:, None]


@_term("s", "-", "none", measured=False)
def observation_delay(s: LeggedState) -> Tensor:
    """Age of what the sensors say."""
    return s.observation_delay[:, None]
