"""Unitree Go1. Its masses and inertias are in ``assets/robots/go1/go1.xml``."""

from __future__ import annotations

from embodied.types import RobotSpec

from .robot import ASSETS, LEGS, Robot, leg_joint_mirror, leg_joint_names

FOOT_RADIUS = 0.023  # MuJoCo Menagerie, unitree_go1

STANCE = {"F": (0.0, 0.75, -1.5), "R": (0.0, 0.9, -1.47)}  # as the Go2, whose legs have the same length
BASE_HEIGHT = 0.3347  # 0.213 (cos 0.75 + cos(1.5 - 0.75)) + FOOT_RADIUS

# Joint ranges: go1.urdf.
RANGES = ((-0.863, 0.863), (-0.686, 4.501), (-2.818, -0.888)) * 4

GO1 = Robot(
    spec=RobotSpec(
        name="go1",
        joint_names=leg_joint_names(),
        default_joint_pos=tuple(angle for leg in LEGS for angle in STANCE[leg[0]]),
        joint_low=tuple(low for low, _ in RANGES),
        joint_high=tuple(high for _, high in RANGES),
        torque_limit=(23.7, 23.7, 35.55) * 4,  # go1.urdf
        velocity_limit=(30.1, 30.1, 20.06) * 4,  # go1.urdf
        kp=(35.0,) * 12,  # MuJoCo Playground's Go1
        kd=(0.5,) * 12,  # MuJoCo Playground's Go1
        sdk_index=tuple(range(12)),  # the joint order is that of unitree_legged_sdk's LowCmd
        base_height=BASE_HEIGHT,
        total_mass=12.743,  # sum of the links of go1.urdf
        foot_names=tuple(f"{leg}_foot" for leg in LEGS),
        imu_position=(-0.01592, -0.06659, -0.00617),  # go1.urdf, imu_joint
        sources={
            "kinematics, masses, ranges, torques, speeds, imu": "unitree_ros, go1.urdf",
            "foot radius": "MuJoCo Menagerie, unitree_go1",
            "armature": "mjlab, Go1",
            "gains, friction, damping": "MuJoCo Playground, Go1",
            "joint order": "unitree_legged_sdk, LowCmd",
        },
    ),
    xml=ASSETS / "go1" / "go1.xml",
    joint_mirror=leg_joint_mirror(),
    foot_radius=FOOT_RADIUS,
)
