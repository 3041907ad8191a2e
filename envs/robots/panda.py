"""Franka Emika Panda with the Franka Hand. Its masses and inertias are in ``assets/robots/panda/panda.xml``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from embodied.types import RobotSpec

from .robot import ASSETS


@dataclass(frozen=True)
class Arm:
    """A robot arm with a parallel gripper.

    spec: constants of the arm's joints, for controllers and exporters; ``base_height`` is that of its foot.
    xml: its MJCF; joints and their position actuators share a name, and the base stands at the origin.
    hand_site: the point between the finger tips, z away from the hand, y along the fingers' motion.
    finger_names: the joints of the two fingers.  finger_travel: m from closed to open, of one finger.
    """

    spec: RobotSpec
    xml: Path
    hand_site: str
    finger_names: tuple[str, str]
    finger_travel: float


# Tip of the hand at (0.45, 0, 0.20) m, pointing down, the elbow in the vertical plane.
HOME = (0.0, -0.087141, 0.0, -2.541779, 0.0, 2.454638, math.pi / 4)

PANDA = Arm(
    spec=RobotSpec(
        name="panda",
        joint_names=tuple(f"panda_joint{number}" for number in range(1, 8)),
        default_joint_pos=HOME,
        joint_low=(-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        joint_high=(2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        torque_limit=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0),
        velocity_limit=(2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
        kp=(2000.0,) * 4 + (500.0,) * 3,
        kd=(100.0,) * 4 + (25.0,) * 3,
        sdk_index=tuple(range(7)),  # libfranka's order is the kinematic one
        base_height=0.0,
        total_mass=17.451901,  # links 0-7 as identified, hand 0.73, fingers 0.015 each
        sources={
            "kinematics, ranges, speeds, torques": "Franka Robotics, FCI documentation, robot specifications",
            "masses, inertias": "Gaz et al., RA-L 2019, as in franka_description",
            "hand, fingers": "franka_description; Franka Hand manual",
            "armature, damping": "MuJoCo Menagerie, franka_emika_panda",
            "gains": "chosen here: a lag of 0.05 s, near critical damping",
        },
    ),
    xml=ASSETS / "panda" / "panda.xml",
    hand_site="hand",
    finger_names=("panda_finger_joint1", "panda_finger_joint2"),
    finger_travel=0.04,
)
