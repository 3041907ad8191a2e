"""The twin of ``envs/tasks/tabletop`` in ManiSkill: importing it registers ``PutOnPlate-v1``, whose argument ``row``
chooses the distribution, and ``PutOnPlate-<row>-v1`` for each row. Needs the extra ``maniskill``."""

from __future__ import annotations

from mani_skill.utils.registration import register_env

from ...tasks.tabletop.rows import ROWS
from .env import HORIZON, PutOnPlateEnv

__all__ = ["PutOnPlateEnv"]

register_env("PutOnPlate-v1", max_episode_steps=HORIZON)(PutOnPlateEnv)
for _row in ROWS:
    register_env(f"PutOnPlate-{_row}-v1", max_episode_steps=HORIZON, row=_row)(PutOnPlateEnv)
