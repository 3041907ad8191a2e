"""The Panda of ManiSkill with the drives of this suite's Panda: same gains, same limits of torque."""

from __future__ import annotations

from typing import Any

from mani_skill.agents.controllers import PDJointPosControllerConfig
from mani_skill.agents.registration import register_agent
from mani_skill.agents.robots.panda import Panda

from ...robots.panda import PANDA
from ...tasks.manipulation.scene import OBJECT_FRICTION

PAD_FRICTION = 1.2
"""Of finger on object, as in ``assets/robots/panda/panda.xml``."""
FINGER_GAINS = {"stiffness": 1000.0, "damping": 80.0, "force_limit": 10.0}
"""N/m, N s/m, N, as there."""


@register_agent()
class PandaTwin(Panda):
    """Its one control mode takes nine joint positions; the task moves the hand and solves the inverse kinematics."""

    uid = "panda_put_on_plate"
    # PhysX takes the mean of two frictions where MuJoCo takes the larger one.
    urdf_config: dict[str, Any] = {  # noqa: RUF012 - as ManiSkill declares it
        **Panda.urdf_config,
        "_materials": {
            "gripper": {
                "static_friction": 2 * PAD_FRICTION - OBJECT_FRICTION,
                "dynamic_friction": 2 * PAD_FRICTION - OBJECT_FRICTION,
                "restitution": 0.0,
            }
        },
    }

    @property
    def _controller_configs(self) -> dict[str, Any]:
        spec = PANDA.spec
        arm = PDJointPosControllerConfig(
            list(spec.joint_names),
            lower=None,
            upper=None,
            stiffness=list(spec.kp),
            damping=list(spec.kd),
            force_limit=list(spec.torque_limit),
            normalize_action=False,
        )
        fingers = PDJointPosControllerConfig(
            list(PANDA.finger_names), lower=None, upper=None, normalize_action=False, **FINGER_GAINS
        )
        return {"pd_joint_pos": {"arm": arm, "fingers": fingers}}
