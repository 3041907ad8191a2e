"""Hopper, Walker2d, HalfCheetah and Ant, equal to Gymnasium's v5 environments step for step."""

from .task import ClassicConfig, ClassicEnv, make

__all__ = ["ClassicConfig", "ClassicEnv", "make"]
