"""What the simulation and a controller have to know of a robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embodied.types import Mirror, RobotSpec

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "robots"

LEGS = ("FR", "FL", "RR", "RL")
"""Front right, front left, rear right, rear left: the order of Unitree's SDK."""

LEG_JOINTS = ("hip", "thigh", "calf")
"""The joints of a leg from the trunk outwards; ``hip`` is the abduction."""


@dataclass(frozen=True)
class Robot:
    """A legged robot.

    spec: constants in joint order, for controllers and exporters.
    xml: its MJCF. The floating base is the body ``base`` with the free joint ``root`` and the site ``imu``. Joints and
        their position actuators share a name. The foot of leg ``FR`` is the geom and the site ``FR_foot``.
    joint_mirror: reflects a joint vector in the robot's x-z plane.
    foot_radius: metres.
    """

    spec: RobotSpec
    xml: Path
    joint_mirror: Mirror
    foot_radius: float
    leg_names: tuple[str, ...] = LEGS


def leg_joint_names(legs: Sequence[str] = LEGS) -> tuple[str, ...]:
    """``FR_hip_joint``, ``FR_thigh_joint``, ... leg by leg."""
    return tuple(f"{leg}_{joint}_joint" for leg in legs for joint in LEG_JOINTS)


def leg_joint_mirror() -> Mirror:
    """Left and right legs change places; an abduction changes its sign, thigh and calf turn about y and keep theirs."""
    swapped = [LEGS.index({"R": f"{leg[0]}L", "L": f"{leg[0]}R"}[leg[1]]) for leg in LEGS]
    index = tuple(3 * leg + joint for leg in swapped for joint in range(3))
    return Mirror(index, (-1.0, 1.0, 1.0) * len(LEGS))
