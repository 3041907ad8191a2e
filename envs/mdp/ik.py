"""Differential inverse kinematics for n arms at once: damped least squares with joint limits and a resting posture.

Damping: Nakamura and Hanafusa 1986; joints that stand at a limit are left out of the solution and it is taken again,
after Flacco, De Luca and Khatib 2015 ("Control of Redundant Robots Under Hard Joint Constraints", saturation in the
null space), with a single round. The posture acts in the null space of the task (Liegeois 1977).
Legend: n arms; J joints; m and rad.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import rotations


def pose_error(position: Tensor, rotation: Tensor, goal_position: Tensor, goal_rotation: Tensor) -> Tensor:
    """From a pose to a goal, world frame: (n, 6) of m and rad."""
    return torch.cat([goal_position - position, rotations.log(goal_rotation @ rotation.mT)], dim=-1)


def damped_pinv(jacobian: Tensor, damping: float) -> Tensor:
    """J^T (J J^T + damping^2 I)^-1: (n, 6, J) -> (n, J, 6)."""
    eye = torch.eye(jacobian.shape[-2], dtype=jacobian.dtype, device=jacobian.device)
    square = jacobian @ jacobian.mT + damping**2 * eye
    return torch.cholesky_solve(jacobian, torch.linalg.cholesky_ex(square).L).mT


def step(
    q: Tensor,
    jacobian: Tensor,
    error: Tensor,
    *,
    low: Tensor,
    high: Tensor,
    max_step: Tensor,
    rest: Tensor,
    damping: float = 0.02,
    rest_gain: float = 0.1,
) -> Tensor:
    """One step of the joints towards the goal, (n, J), within limits.

    q: (n, J).  jacobian: (n, 6, J).  error: (n, 6), see :func:`pose_error`.
    low, high: (J,) joint limits.  max_step: (J,) rad; a longer step is shortened as a whole, which keeps its direction.
    rest: (J,) posture that redundant joints tend to, by the share ``rest_gain`` of the way a step.
    damping: near singular poses, how small a singular value [m/rad] still counts.
    """
    posture = rest_gain * (rest - q)
    delta = _solve(jacobian, error, posture, damping)
    free = ((q + delta > low) & (q + delta < high)).to(q.dtype)
    delta = free * _solve(jacobian * free[:, None], error, free * posture, damping) + (1 - free) * (
        (q + delta).clamp(low, high) - q
    )
    shrink = (delta.abs() / max_step).amax(-1, keepdim=True).clamp_min(1.0)
    return (q + delta / shrink).clamp(low, high)


def _solve(jacobian: Tensor, error: Tensor, posture: Tensor, damping: float) -> Tensor:
    """The task's step plus what of the posture's the task does not feel, (n, J)."""
    pinv = damped_pinv(jacobian, damping)
    rest_of_error = error[..., None] - jacobian @ posture[..., None]
    return posture + (pinv @ rest_of_error)[..., 0]
