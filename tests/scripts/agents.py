"""Untrained policies in real tasks, for what shows them."""

from __future__ import annotations

from typing import Any

import envs
import policies
from scripts.common import Agent
from scripts.player import Player


def make_player(task: str = "go2_velocity", policy: str = "mlp", seed: int = 0, **overrides: Any) -> Player:
    """One world, one thread."""
    env = envs.make(task, num_worlds=1, num_threads=1, seed=seed, overrides=overrides)
    return Player(env, Agent(policies.make({"kind": policy, "hidden": [16]}, env.spec), None, env.spec, {}), seed)
