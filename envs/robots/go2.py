"""Unitree Go2. Its masses and inertias are in ``assets/robots/go2/go2.xml``."""

from __future__ import annotations

from embodied.types import RobotSpec

from .robot import ASSETS, LEGS, Robot, leg_joint_mirror, leg_joint_names

FOOT_RADIUS = 0.022  # go2_description.urdf, FR_foot

# Near unitree_rl_gym's (0.8 front / 1.0 rear, -1.5), chosen so that all feet touch level ground below straight hips.
# The rear feet stand a little behind their hips: with all legs alike the PD motors give way backwards under the weight.
STANCE = {"F": (0.0, 0.75, -1.5), "R": (0.0, 0.9, -1.47)}
BASE_HEIGHT = 0.3337  # 0.213 (cos 0.75 + cos(1.5 - 0.75)) + FOOT_RADIUS

# Joint ranges: go2_description.urdf. The rear thighs reach further back than the front ones.
HIP, CALF = (-1.0472, 1.0472), (-2.7227, -0.83776)
THIGH = {"F": (-1.5708, 3.4907), "R": (-0.5236, 4.5379)}
RANGES = tuple(limits for leg in LEGS for limits in (HIP, THIGH[leg[0]], CALF))

GO2 = Robot(
    spec=RobotSpec(
        name="go2",
        joint_names=leg_joint_names(),
        default_joint_pos=tuple(angle for leg in LEGS for angle in STANCE[leg[0]]),
        joint_low=tuple(low for low, _ in RANGES),
        joint_high=tuple(high for _, high in RANGES),
        torque_limit=(23.7, 23.7, 45.43) * 4,  # unitree_mujoco's go2.xml; some URDFs: calf 35.55
        velocity_limit=(30.1, 30.1, 20.07) * 4,  # go2_description.urdf
        kp=(35.0,) * 12,  # UniLab's Go2; unitree_rl_lab runs 25 on the robot
        kd=(0.5,) * 12,  # both
        sdk_index=tuple(range(12)),  # the joint order is that of unitree_sdk2's LowCmd
        base_height=BASE_HEIGHT,
        total_mass=15.206,  # sum of the links of go2_description.urdf
        foot_names=tuple(f"{leg}_foot" for leg in LEGS),
        imu_position=(-0.02557, 0.0, 0.04232),  # go2_description.urdf, imu_joint
        sources={
            "kinematics, masses, ranges, speeds, imu": "unitree_ros, go2_description.urdf",
            "torque limits, armature, friction, damping": "unitree_mujoco, go2.xml",
            "gains": "UniLab, Go2; kd also unitree_rl_lab",
            "joint order": "unitree_sdk2, LowCmd",
        },
    ),
    xml=ASSETS / "go2" / "go2.xml",
    joint_mirror=leg_joint_mirror(),
    foot_radius=FOOT_RADIUS,
)
