"""Run folders without a training: written by hand, so that every figure on the page is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec


def figure(mean: float, low: float, high: float, std: float = 0.1, n: int = 256) -> dict[str, float | int]:
    return {"mean": mean, "low": low, "high": high, "std": std, "n": n}


GOOD = {
    "return": figure(31.5, 31.0, 32.0),
    "success": figure(1.0, 0.985, 1.0, 0.0),
    "fall": figure(0.0, 0.0, 0.015, 0.0),
    "error_lin_vel": figure(0.0973, 0.09, 0.1046),
    "error_ang_vel": figure(0.13, 0.12, 0.14),
    "reward/track_lin_vel": figure(17.25, 17, 17.5),
    "reward/orientation": figure(-0.75, -0.8, -0.7),
}


def records(count: int = 60) -> list[dict[str, Any]]:
    """A return that rises from 0 towards 30, and a first record without any episode."""
    made: list[dict[str, Any]] = [{"step": 1000, "iteration": 1, "seconds": 0.1, "learning_rate": 1e-3, "kl": 0.01}]
    for i in range(1, count):
        value = 30 * (1 - math.exp(-i / 15))
        made.append({
            "step": 1000 * (i + 1), "iteration": i + 1, "seconds": 0.1 * (i + 1), "steps_per_second": 10_000.0,
            "episode/return": value, "episode/success": value / 30, "episode/error_lin_vel": 0.6 - value / 60,
            "episode/reward/track_lin_vel": value / 2, "learning_rate": 1e-3 / (1 + i), "kl": 0.01, "loss/entropy": 3.0,
        })  # fmt: skip
    return made


def write_run(path: Path, *, metrics: dict[str, Any] | None = None, **task: Any) -> Path:
    """A run folder with log, configuration and provenance; with an evaluation if ``metrics`` are given."""
    path.mkdir(parents=True, exist_ok=True)
    settings = {"name": "strider", "kind": "velocity", "description": "Walks & turns", **task}
    config = {"seed": 7, "num_worlds": 64, "task": settings, "policy": {"kind": "mlp", "hidden": [8, 8]}}
    (path / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    provenance = {
        "time": "2026-01-02T03:04:05+00:00", "commit": {"hash": "c0ffee", "dirty": True}, "seed": 7,
        "command": ["embodied", "train", "task=strider"], "python": "3.11.7", "versions": {"torch": "2.13.0"},
        "machine": {"cpu": "Abacus", "cpus": 2, "memory_gb": 8.0, "gpus": []},
    }  # fmt: skip
    (path / "provenance.json").write_text(json.dumps(provenance))
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records()))
    if metrics is not None:
        evaluation = {"episodes": 256, "crashed": 0, "seed": 3, "deterministic": True, "task": "strider"}
        (path / "evaluation.json").write_text(json.dumps({**evaluation, "metrics": metrics, "changes": []}))
    return path


def write_checkpoint(path: Path, steps: int = 60_000) -> TaskSpec:
    """The index of a checkpoint, which is all of it that a report reads."""
    obs = {"policy": ObsGroup.of(ObsTerm("joint_pos", 2, "rad"))}
    action = ActionSpec(("hip", "knee"), unit="rad", kind="joint_position")
    spec = TaskSpec("strider", 0.02, 500, obs, action, command={"lin_vel_x": (-1, 1)})
    folder = path / "checkpoints" / f"step_{steps:012d}"
    folder.mkdir(parents=True)
    index = {"format": 1, "env_steps": steps, "iteration": 60, "spec": spec.to_dict(), "config": {}}
    (folder / "checkpoint.json").write_text(json.dumps(index))
    return spec


def write_video(path: Path) -> Path:
    """A second of grey."""
    from embodied.video import VideoWriter

    with VideoWriter(path, 64, 48, fps=10) as writer:
        for level in range(10):
            writer.add(np.full((48, 64, 3), 20 * level, np.uint8))
    return path
