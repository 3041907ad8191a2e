"""Reward terms of the classic tasks: pure functions of :class:`ClassicState`, returning (N,).

A task's YAML gives the weights; the reward is the weighted sum. Laws as in Gymnasium's MuJoCo environments, version 5.
"""

from __future__ import annotations

from torch import Tensor

from .state import ClassicState


def forward(s: ClassicState) -> Tensor:
    """Velocity along world x [m/s]."""
    return s.x_velocity


def healthy(s: ClassicState) -> Tensor:
    """One while the robot is healthy, also at the step that truncates an episode."""
    return s.healthy.to(s.qpos.dtype)


def control(s: ClassicState) -> Tensor:
    """Sum of squared actions."""
    return s.action.square().sum(-1)


def contact(s: ClassicState) -> Tensor:
    """Sum of squares of the clipped contact torques and forces on all bodies."""
    return s.contact_force.square().sum((-1, -2))
