"""The tabletop from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from embodied.configuration import from_mapping

from ...mujoco.physics import make_physics
from ...robots.panda import PANDA
from ..manipulation.objects import parse_laws, per_world_fields
from .config import TabletopConfig
from .env import TabletopEnv
from .scene import PER_WORLD, physics_model, visual_model


def make(
    config: Mapping[str, Any],
    *,
    num_worlds: int,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
) -> TabletopEnv:
    """N worlds of the tabletop from its YAML; see :func:`envs.registry.make`."""
    settings: TabletopConfig = from_mapping(TabletopConfig, config, "task")
    fields = [*PER_WORLD, *per_world_fields(parse_laws(settings.randomization))]
    physics = make_physics(
        physics_model(settings.physics_dt),
        num_worlds,
        engine=engine,
        device=device,
        per_world=fields,
        num_threads=num_threads,
    )
    env = TabletopEnv(settings, PANDA, physics, seed)
    env.visual_model = lambda: visual_model(settings.physics_dt)
    return env
