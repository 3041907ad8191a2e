"""Robots: one file each, holding its constants with their source; the MJCF is under ``assets/robots``."""

from __future__ import annotations

from embodied.configuration import nearest

from .go1 import GO1
from .go2 import GO2
from .robot import Robot

_ROBOTS = {"go1": GO1, "go2": GO2}


def robot_names() -> tuple[str, ...]:
    """The names that :func:`get_robot` knows."""
    return tuple(_ROBOTS)


def get_robot(name: str) -> Robot:
    """The robot of this name. Raises ValueError naming the valid choices."""
    if name in _ROBOTS:
        return _ROBOTS[name]
    raise ValueError(f"unknown robot {name!r}; {nearest(name, _ROBOTS)}")


__all__ = ["GO1", "GO2", "Robot", "get_robot", "robot_names"]
