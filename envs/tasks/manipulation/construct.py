"""A tabletop task from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from embodied.configuration import choice, from_mapping

from ...mujoco.physics import make_physics
from ...robots.panda import PANDA
from .config import ManipulationConfig
from .env import ManipulationEnv
from .objects import parse_laws, per_world_fields
from .peg_insertion import PegInsertionEnv
from .pick_cube import PickCubeEnv
from .push import PushEnv
from .push_t import PushTEnv
from .reach import ReachEnv
from .scene import base_scene, compile_scene
from .stack import StackEnv

TASKS: dict[str, type[ManipulationEnv]] = {
    "reach": ReachEnv,
    "push": PushEnv,
    "pick_cube": PickCubeEnv,
    "stack": StackEnv,
    "peg_insertion": PegInsertionEnv,
    "push_t": PushTEnv,
}


def make(
    config: Mapping[str, Any],
    *,
    num_worlds: int,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
) -> ManipulationEnv:
    """N worlds of a tabletop task from its YAML; see :func:`envs.registry.make`."""
    settings: ManipulationConfig = from_mapping(ManipulationConfig, config, "task")
    choice("task.task", settings.task, TASKS)
    task = TASKS[settings.task]
    options: Any = from_mapping(task.options_type, settings.options, "task.options")

    def build(visuals: bool) -> Any:
        spec = base_scene(PANDA, settings.physics_dt)
        task.build(spec, options)
        return compile_scene(spec, visuals)

    fields = per_world_fields(parse_laws(settings.randomization))
    physics = make_physics(
        build(visuals=False), num_worlds, engine=engine, device=device, per_world=fields, num_threads=num_threads
    )
    env = task(settings, PANDA, physics, seed)
    env.visual_model = lambda: build(visuals=True)
    return env
