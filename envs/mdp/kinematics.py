"""Forward kinematics and the geometric Jacobian of a serial arm, for n configurations at once.

Legend: n configurations; J joints; world frame; m and rad. The arm's base is fixed. With the physics' own joint angles
the pose is that of the current state, which its derived fields are not just after a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import torch
from torch import Tensor

from . import rotations


class SerialArm:
    """A chain of hinges about their bodies' z axes, from the world to the site at its end.

    Raises ValueError for a joint that is no such hinge, or for joints that are not one chain.
    """

    def __init__(self, model: mujoco.MjModel, joints: Sequence[str], site: str, device: torch.device) -> None:
        bodies = [int(model.joint(name).bodyid[0]) for name in joints]
        for name, body, above in zip(joints, bodies, [None, *bodies[:-1]], strict=True):
            _check_joint(model, name, body, above)
        # the body above the first joint is fixed in the world, the site's bodies below the last joint are fixed to it
        frames = [_fixed(model, body, above) for body, above in zip(bodies, [0, *bodies[:-1]], strict=True)]
        end = model.site(site)
        frames.append(_compose(_fixed(model, int(end.bodyid[0]), bodies[-1]), (end.pos, end.quat)))

        def stack(part: int) -> Tensor:
            return torch.stack([torch.tensor(frame[part], dtype=torch.float64) for frame in frames]).to(device)

        self._offsets, self._turns = stack(0), rotations.from_quat(stack(1))
        self.num_joints = len(joints)

    def __call__(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Pose of the site: q (n, J) -> position (n, 3), rotation (n, 3, 3)."""
        position, rotation, _, _ = self._chain(q)
        return position, rotation

    def jacobian(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Position (n, 3), rotation (n, 3, 3), Jacobian (n, 6, J): linear over angular velocity of the site."""
        position, rotation, anchors, axes = self._chain(q)
        linear = torch.linalg.cross(axes, position[:, None] - anchors)
        return position, rotation, torch.cat([linear, axes], dim=-1).mT

    def _chain(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Site position and rotation, joint anchors (n, J, 3) and axes (n, J, 3)."""
        n = len(q)
        rotation = torch.eye(3, dtype=q.dtype, device=q.device).expand(n, 3, 3)
        position = torch.zeros(n, 3, dtype=q.dtype, device=q.device)
        spins = rotations.about_z(q)
        anchors, axes = [], []
        offsets, turns = self._offsets.to(q.dtype), self._turns.to(q.dtype)
        for joint in range(self.num_joints):
            position = position + rotation @ offsets[joint]
            rotation = rotation @ turns[joint]
            anchors.append(position)
            axes.append(rotation[..., 2])
            rotation = rotation @ spins[:, joint]
        position = position + rotation @ offsets[-1]
        return position, rotation @ turns[-1], torch.stack(anchors, 1), torch.stack(axes, 1)


Frame = tuple[Sequence[float], Sequence[float]]
"""Position (3,) and quaternion (4,)."""


def _check_joint(model: mujoco.MjModel, name: str, body: int, above: int | None) -> None:
    joint = model.joint(name)
    hinge = joint.type[0] == mujoco.mjtJoint.mjJNT_HINGE and list(joint.axis) == [0, 0, 1] and not joint.pos.any()
    if not hinge or model.body_jntnum[body] != 1:
        raise ValueError(f"joint {name!r}: only a body's single hinge about its own z, through its origin, will do")
    if above is not None and above not in _ancestors(model, body):
        raise ValueError(f"joint {name!r} is not below the joint before it")


def _ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    """The bodies above this one, nearest first, without the world."""
    found = []
    while body := int(model.body_parentid[body]):
        found.append(body)
    return found


def _fixed(model: mujoco.MjModel, body: int, above: int) -> Frame:
    """Pose of a body in one above it (0: the world), through bodies without joints."""
    frame: Frame = ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    while body != above:
        frame = _compose((model.body_pos[body], model.body_quat[body]), frame)
        body = int(model.body_parentid[body])
    return frame


def _compose(outer: Frame, inner: Frame) -> Frame:
    position, quat = np.zeros(3), np.zeros(4)
    mujoco.mju_mulPose(position, quat, *(np.asarray(x, float) for x in (*outer, *inner)))
    return position.tolist(), quat.tolist()
