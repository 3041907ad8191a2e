"""Terminations of legged locomotion: pure functions of :class:`LeggedState`, returning (n,) bool."""

from __future__ import annotations

import math

from torch import Tensor

from .state import LeggedState


def tilted(s: LeggedState, degrees: float = 70.0) -> Tensor:
    """The base's z axis leans more than ``degrees`` from vertical."""
    return s.gravity_b[:, 2] > -math.cos(math.radians(degrees))


def too_low(s: LeggedState, height: float) -> Tensor:
    """The base is lower than ``height`` [m] above the ground below it."""
    return s.base_height < height
