"""A run of a few steps, to try commands on."""

from __future__ import annotations

from pathlib import Path

from scripts.cli import main

TINY = [
    *("task=hopper", "num_worlds=4", "num_threads=1", "policy.hidden=[8]", "policy.activation=elu"),
    # A schedule that depends on total_steps would tell an interrupted run from a whole one.
    *("algo.num_steps=8", "algo.schedule=adaptive"),
]


def tiny_run(run_dir: Path, *overrides: str) -> Path:
    """Train for 64 steps; the run folder."""
    assert main(["train", *TINY, "total_steps=64", f"run_dir={run_dir}", *overrides]) == 0
    return run_dir
