"""Every task in Gymnasium's registry, under the namespace ``embodied``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import torch

from .. import registry
from .gymnasium import GymnasiumEnv, GymnasiumVectorEnv

NAMESPACE = "embodied"


def register() -> None:
    """Register ``embodied/<task>`` for every task that has a configuration; those registered before are kept."""
    for name in registry.task_names():
        if f"{NAMESPACE}/{name}" not in gymnasium.registry:
            gymnasium.register(
                f"{NAMESPACE}/{name}",
                entry_point=f"{__name__}:make_env",
                vector_entry_point=f"{__name__}:make_vector_env",
                kwargs={"task": name},
            )


def make_vector_env(
    task: str,
    num_envs: int = 1,
    *,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> GymnasiumVectorEnv:
    """What ``gymnasium.make_vec("embodied/<task>", ...)`` calls.

    Arguments as :func:`envs.make`; ``options`` as :class:`GymnasiumVectorEnv`.
    """
    env = registry.make(
        task,
        num_worlds=num_envs,
        device=device,
        engine=engine,
        num_threads=num_threads,
        seed=seed,
        overrides=overrides,
    )
    return GymnasiumVectorEnv(env, **options)


def make_env(
    task: str,
    *,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> GymnasiumEnv:
    """What ``gymnasium.make("embodied/<task>", ...)`` calls: one world on one thread."""
    env = registry.make(task, num_worlds=1, device=device, engine=engine, num_threads=1, seed=seed, overrides=overrides)
    return GymnasiumEnv(env, **options)
