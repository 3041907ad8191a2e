"""From a task's configuration to its model, physics, ground and environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from embodied.configuration import from_mapping

from ...mujoco.physics import make_physics
from ...mujoco.randomization import parse, per_world_fields
from ...mujoco.scene import Heightfield, SceneConfig, build_model
from ...mujoco.terrain import Ground, TerrainConfig, TiledGround
from ...robots import get_robot
from .config import LeggedConfig
from .legged import LeggedEnv

Env = TypeVar("Env", bound=LeggedEnv)


def construct(
    cls: type[Env],
    values: Mapping[str, Any],
    num_worlds: int,
    device: str | torch.device,
    engine: str,
    num_threads: int,
    seed: int,
) -> Env:
    """Build an environment of class ``cls``; see :func:`envs.registry.make` for the arguments."""
    config: LeggedConfig = from_mapping(LeggedConfig, values, "task")
    robot = get_robot(config.robot)
    ground, field = _ground(config, num_worlds, torch.device(device), seed)
    scene = from_mapping(SceneConfig, {"timestep": config.physics_dt, "visuals": False, **config.scene}, "task.scene")
    model = build_model(robot, scene, field)
    physics = make_physics(
        model,
        num_worlds,
        engine=engine,
        device=device,
        per_world=per_world_fields(parse(config.randomization)),
        num_threads=num_threads,
    )
    env = cls(config, robot, physics, ground, seed)
    env.visual_model = lambda: build_model(robot, dataclasses.replace(scene, visuals=True), field)
    return env


def _ground(
    config: LeggedConfig, num_worlds: int, device: torch.device, seed: int
) -> tuple[Ground, Heightfield | None]:
    if config.terrain is None:
        return Ground(), None
    shape: TerrainConfig = from_mapping(TerrainConfig, config.terrain, "task.terrain")
    generator = torch.Generator(device).manual_seed(seed)
    ground = TiledGround(shape, num_worlds, device, generator, config.evaluation)
    size_x, size_y = ground.size
    return ground, Heightfield(ground.heights, size_x, size_y)
