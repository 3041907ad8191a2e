"""Tasks by name: ``configs/task/<name>.yaml`` says what a task is, ``kind`` which class builds it."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from embodied.configuration import nearest
from embodied.types import VecEnv

from .chunking import ChunkedVecEnv, ChunkingConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

KINDS = {
    "velocity": "envs.tasks.locomotion.velocity:make",
    "getup": "envs.tasks.locomotion.getup:make",
    "classic": "envs.tasks.classic:make",
    "gymnasium": "envs.gymnasium:make",
    "manipulation": "envs.tasks.manipulation:make",
    "maniskill": "envs.maniskill:make",
    "tabletop": "envs.tasks.tabletop:make",
}
"""kind -> ``module:function``; the function takes (config, num_worlds, device, engine, num_threads, seed)."""


CHUNKING = tuple(field.name for field in dataclasses.fields(ChunkingConfig))


def task_names() -> list[str]:
    """Every task that has a configuration."""
    return sorted(path.stem for path in (CONFIGS / "task").glob("*.yaml"))


def load_task_config(name: str) -> dict[str, Any]:
    """The resolved configuration of a task. An unknown name is an error that says which are known."""
    if name not in task_names():
        raise ValueError(f"unknown task {name!r}; {nearest(name, task_names())}")
    # Hydra keeps one global state; a caller inside a Hydra application keeps its own.
    saved = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose(overrides=[f"+task={name}"])
    finally:
        GlobalHydra.instance().hydra = saved
    return OmegaConf.to_container(composed.task, resolve=True)  # type: ignore[return-value]


def make(
    task: str | Mapping[str, Any],
    *,
    num_worlds: int,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> VecEnv:
    """Make N worlds of a task.

    Args:
        task: a name (see :func:`task_names`) or a whole task configuration with ``name`` and ``kind``. Every task
            takes ``chunk`` and ``history``, see :class:`envs.chunking.ChunkingConfig`.
        engine: ``batch``, ``warp`` or ``auto``; see :func:`envs.mujoco.physics.make_physics`.
        overrides: nested values that replace those of the task's configuration.
    """
    config = load_task_config(task) if isinstance(task, str) else dict(task)
    if overrides:
        merged = OmegaConf.merge(OmegaConf.create(config), OmegaConf.create(dict(overrides)))
        config = OmegaConf.to_container(merged, resolve=True)  # type: ignore[assignment]
    kind = config.get("kind")
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r} of task {config.get('name')!r}; {nearest(str(kind), KINDS)}")
    chunking = ChunkingConfig(**{name: config.pop(name) for name in CHUNKING if name in config})
    module, function = KINDS[kind].split(":")
    build = getattr(importlib.import_module(module), function)
    env = build(config, num_worlds=num_worlds, device=device, engine=engine, num_threads=num_threads, seed=seed)
    return env if chunking == ChunkingConfig() else ChunkedVecEnv(env, **dataclasses.asdict(chunking))
