"""ManiSkill 3 (Tao et al. 2024, "ManiSkill3: GPU Parallelized Robotics Simulation and Rendering") as tasks of this
suite: needs the extra ``maniskill``, which is imported where a task is made."""

from __future__ import annotations

from .env import ManiSkillVecEnv, make

__all__ = ["ManiSkillVecEnv", "make"]
