"""From a task's configuration to its model, physics, ground and environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import mujoco
import torch
from torch import Tensor

from embodied.configuration import from_mapping

from ...mujoco.physics import make_physics
from ...mujoco.randomization import parse, per_world_fields
from ...mujoco.scene import Heightfield, SceneConfig, build_model
from ...mujoco.terrain import Ground, TerrainConfig, TiledGround
from ...robots import get_robot
from .config import LeggedConfig
from .legged import LeggedEnv

Env = TypeVar("Env", bound=LeggedEnv)
REACH, MARGIN = 8.0, 3.0
"""Metres of the ground around a robot that are drawn, and how near it may come to their end."""


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
    visual = dataclasses.replace(scene, visuals=True)
    env.visual_model = lambda: build_model(robot, visual, field)
    if field is not None:
        env.close_up = CloseUp(lambda part: build_model(robot, visual, part), field)
    return env


class CloseUp:
    """The model with the ground around a robot alone: all the tiles have millions of triangles."""

    def __init__(self, build: Callable[[Heightfield], mujoco.MjModel], field: Heightfield) -> None:
        self._build, self._field = build, field
        self._drawn: tuple[float, float, mujoco.MjModel] | None = None

    def __call__(self, qpos: Tensor) -> mujoco.MjModel:
        """The same model as before, unless the robot comes near the end of what it has."""
        x, y = qpos[:2].tolist()
        if self._drawn is None or max(abs(x - self._drawn[0]), abs(y - self._drawn[1])) > REACH - MARGIN:
            self._drawn = x, y, self._build(self._field.around(x, y, REACH))
        return self._drawn[2]


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
