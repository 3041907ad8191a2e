"""Terminations of the classic tasks: pure functions of :class:`ClassicState`, returning (N,) bool.

Limits are open intervals; NaN lies outside of every one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .state import ClassicState


def height_outside(s: ClassicState, low: float, high: float = math.inf) -> Tensor:
    """The root is lower than ``low`` or higher than ``high`` [m]."""
    return ~((s.height > low) & (s.height < high))


def pitch_outside(s: ClassicState, low: float, high: float) -> Tensor:
    """The planar root's pitch leaves (low, high) [rad]."""
    if s.pitch is None:
        raise ValueError("pitch_outside needs a planar root, and this model's root is free")
    return ~((s.pitch > low) & (s.pitch < high))


def state_outside(s: ClassicState, low: float, high: float) -> Tensor:
    """Any coordinate beyond the first two, or any velocity, leaves (low, high) [m, rad, m/s, rad/s]."""
    state = torch.cat([s.qpos[:, 2:], s.qvel], dim=-1)
    return ~((state > low) & (state < high)).all(-1)
