"""From a policy's action to joint targets: moves of the hand's target pose, followed by inverse kinematics.

Legend: n worlds; A action elements; J joints of the arm. World frame, m and rad.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embodied.types import ActionSpec

from ...mdp import ik, rotations
from ...mdp.kinematics import SerialArm
from ...robots.panda import Arm
from .config import AXES, ManipulationConfig


def action_spec(config: ManipulationConfig, arm: Arm) -> ActionSpec:
    """A step of the hand's target for each axis; for the gripper where each finger shall be."""
    scales = {axis: config.position_scale for axis in "xyz"}
    scales |= {axis: config.rotation_scale for axis in ("roll", "pitch", "yaw")}
    half = arm.finger_travel / 2
    offset = tuple(half if axis == "gripper" else 0.0 for axis in config.axes)
    scale = tuple(scales.get(axis, half) for axis in config.axes)
    return ActionSpec(
        names=tuple(axis if axis == "gripper" else f"d{axis}" for axis in config.axes),
        unit="m, rad",
        kind="hand_delta",
        offset=offset,
        scale=scale,
        low=-1.0,
        high=1.0,
        command_low=tuple(o - s for o, s in zip(offset, scale, strict=True)),
        command_high=tuple(o + s for o, s in zip(offset, scale, strict=True)),
    )


class HandControl:
    """Delta control of the hand over all worlds at once; it remembers nothing, the environment does."""

    def __init__(self, config: ManipulationConfig, arm: Arm, chain: SerialArm, device: torch.device) -> None:
        def vector(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        self._chain, self._config = chain, config
        self.spec = action_spec(config, arm)
        self._offset, self._scale = vector(self.spec.offset), vector(self.spec.scale)
        self._columns = torch.tensor([AXES.index(axis) for axis in config.axes], device=device)
        self._box = vector(config.workspace_low), vector(config.workspace_high)
        self._low, self._high = vector(arm.spec.joint_low), vector(arm.spec.joint_high)
        self._max_step = config.control_dt / config.ik_steps * vector(arm.spec.velocity_limit)
        self._rest = vector(arm.spec.default_joint_pos)

    def command(self, action: Tensor) -> Tensor:
        """Actions (n, A) as moves and finger position, (n, 7) in the order of AXES; what is left out is 0."""
        full = torch.zeros(len(action), len(AXES), device=action.device)
        full[:, self._columns] = self._offset + self._scale * action.float().clamp(-1, 1)
        return full

    def move_target(
        self, position: Tensor, rotation: Tensor, command: Tensor, hand: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The target pose after this command, (n, 3) and (n, 3, 3); near the hand's pose, inside the workspace."""
        hand_pos, hand_rot = hand
        c = self._config
        lead = position + command[:, :3] - hand_pos
        position = torch.clamp(hand_pos + shorten(lead, c.max_lead), *self._box)
        turn = rotations.log(rotations.exp(command[:, 3:6]) @ rotation @ hand_rot.mT)
        return position, rotations.exp(shorten(turn, c.max_turn)) @ hand_rot

    def follow(self, joints: Tensor, position: Tensor, rotation: Tensor) -> Tensor:
        """Joint targets (n, J) a step closer to the target pose."""
        at, facing, jacobian = self._chain.jacobian(joints)
        error = ik.pose_error(at, facing, position, rotation)
        return ik.step(
            joints, jacobian, error, low=self._low, high=self._high, max_step=self._max_step, rest=self._rest
        )


def shorten(vec: Tensor, longest: float) -> Tensor:
    """Vectors (n, 3), none longer than ``longest``."""
    return vec * (longest / vec.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)
