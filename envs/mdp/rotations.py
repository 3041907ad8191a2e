"""Rotation matrices on batches, (..., 3, 3), body frame to world frame; angles in rad."""

from __future__ import annotations

import torch
from torch import Tensor


def from_quat(quat: Tensor) -> Tensor:
    """Unit quaternions (w, x, y, z), (..., 4) -> (..., 3, 3)."""
    w, x, y, z = quat.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def about_z(angle: Tensor) -> Tensor:
    """Turn by ``angle`` about z, (...,) -> (..., 3, 3)."""
    c, s, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    one = torch.ones_like(angle)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], dim=-1).unflatten(-1, (3, 3))


def exp(rotvec: Tensor) -> Tensor:
    """The rotation by |rotvec| about rotvec (Rodrigues), (..., 3) -> (..., 3, 3)."""
    angle = rotvec.norm(dim=-1)[..., None, None]
    # sin(a)/a and (1 - cos(a))/a^2 without a division by zero: torch.sinc(t) is sin(pi t)/(pi t)
    first = torch.sinc(angle / torch.pi)
    second = 0.5 * torch.sinc(angle / (2 * torch.pi)).square()
    k = skew(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + first * k + second * (k @ k)


def log(rotation: Tensor) -> Tensor:
    """The inverse of :func:`exp` for angles below pi, (..., 3, 3) -> (..., 3)."""
    r = rotation
    vector = 0.5 * torch.stack(  # axis * sin(angle)
        [r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], dim=-1
    )
    sine = vector.norm(dim=-1, keepdim=True)
    cosine = 0.5 * (r.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1)
    angle = torch.atan2(sine, cosine)
    return vector * torch.where(sine > 1e-7, angle / sine.clamp_min(1e-7), 1.0)


def skew(vec: Tensor) -> Tensor:
    """The matrix of the cross product with ``vec``, (..., 3) -> (..., 3, 3)."""
    x, y, z = vec.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def yaw_of(rotation: Tensor) -> Tensor:
    """Direction of the body's x axis in the world's x-y plane, (..., 3, 3) -> (...,) in (-pi, pi]."""
    return torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])


def six(rotation: Tensor) -> Tensor:
    """The first two columns, (..., 6): a continuous coordinate of a rotation (Zhou et al. 2019, section 4)."""
    return torch.cat([rotation[..., 0], rotation[..., 1]], dim=-1)


def wrap(angle: Tensor, period: float = 2 * torch.pi) -> Tensor:
    """The equivalent angle in [-period/2, period/2)."""
    return torch.remainder(angle + period / 2, period) - period / 2
