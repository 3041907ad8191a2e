"""Rotations on batches. Quaternions are (w, x, y, z) and take the body frame (b) to the world frame (w)."""

from __future__ import annotations

import torch
from torch import Tensor


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """a x b, (n, 3), worlds last in memory."""
    return torch.linalg.cross(a.t(), b.t(), dim=0).t()


def rotate(quat: Tensor, vec: Tensor) -> Tensor:
    """Body to world: (n, 4), (n, 3) -> (n, 3)."""
    return _turn(quat, vec, 1)


def rotate_inverse(quat: Tensor, vec: Tensor) -> Tensor:
    """World to body: (n, 4), (n, 3) -> (n, 3)."""
    return _turn(quat, vec, -1)


def _turn(quat: Tensor, vec: Tensor, sign: int) -> Tensor:
    """vec + 2 axis x (axis x vec + sign w vec), for the quaternion (w, axis) or its inverse."""
    w, axis = quat[:, :1], quat[:, 1:]
    return torch.add(vec, _cross(axis, torch.addcmul(_cross(axis, vec), w, vec, value=sign)), alpha=2)


def gravity_in_body(quat: Tensor) -> Tensor:
    """Unit gravity direction (0, 0, -1) seen from the body frame, (n, 3), worlds last in memory."""
    w, x, y, z = quat.unbind(-1)
    up = [torch.addcmul(x * z, w, y, value=-1), torch.addcmul(y * z, w, x), torch.addcmul(0.5 - x * x, y, y, value=-1)]
    return torch.stack(up).mul_(-2).t()


def yaw(quat: Tensor) -> Tensor:
    """Heading about world z, (n,) rad in (-pi, pi]."""
    w, x, y, z = quat.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def from_yaw(angle: Tensor) -> Tensor:
    """Quaternion of a rotation about world z: (n,) rad -> (n, 4)."""
    zero = torch.zeros_like(angle)
    return torch.stack([torch.cos(angle / 2), zero, zero, torch.sin(angle / 2)], dim=-1)


def random_rotation(normals: Tensor) -> Tensor:
    """Uniform random rotations from standard normal draws (n, 4) -> unit quaternions (n, 4)."""
    return normals / normals.norm(dim=-1, keepdim=True).clamp_min(1e-8)
