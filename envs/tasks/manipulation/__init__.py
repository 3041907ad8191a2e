"""Tabletop tasks of one arm with a gripper, each with a scripted expert."""

from __future__ import annotations

from .construct import TASKS, make
from .env import ManipulationEnv

__all__ = ["TASKS", "ManipulationEnv", "make"]
