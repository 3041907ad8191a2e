"""Results of rows made by hand, without any policy; and a policy that has learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import envs
import policies
from embodied import checkpoint

CODES = {"s": "success", "n": "never_grasped", "w": "wrong_object", "p": "wrong_place", "d": "dropped", "t": "timeout"}


def result(row: str, outcomes: str, *, first: int = 0, **more: Any) -> dict[str, Any]:
    """One letter an episode, as in CODES; ``c``: crashed. Every other episode has two objects."""
    told = [CODES.get(letter, "crashed") for letter in outcomes]
    followed: Sequence[int | None] = [0 if x == "wrong_object" else None if x == "never_grasped" else 1 for x in told]
    made = {
        "row": row,
        "numbers": list(range(first, first + len(told))),
        "outcome": told,
        "success_once": [int(x in ("success", "dropped")) for x in told],
        "followed": followed,
        "two_objects": [i % 2 == 0 for i in range(len(told))],
        "latency_ms": [1.0, 2.0, 3.0],
    }
    return made | more


def untrained_run(folder: Path) -> Path:
    """A checkpoint of a small policy without eyes."""
    task = envs.load_task_config("put_on_plate") | {"image_size": 0, "chunk": 4, "group": 2, "cut_after_success": 3}
    env = envs.make(task, num_worlds=2, num_threads=1)
    config = {"kind": "compact_vla", "trunk": {"width": 8, "blocks": 1, "heads": 1}}
    torch.manual_seed(0)
    policy: Any = policies.make(config, env.spec)
    env.close()
    shared: dict[str, Any] = {"normalizer": None, "training": {}, "spec": env.spec}
    settings = {"task": task, "policy": config}
    checkpoint.save(folder, env_steps=0, iteration=0, policy=policy, config=settings, **shared)
    return folder
