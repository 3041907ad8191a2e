"""kill -9 at random moments: always resumable, never a broken checkpoint, and the result is as if nothing happened."""

from __future__ import annotations

import os
import random
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from embodied import checkpoint
from embodied.metrics import read_jsonl
from embodied.ppo import PPOConfig
from embodied.train import TrainConfig, train
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import PointMass

ROWS, STEPS = 16, 8


def run(directory: str, iterations: int) -> None:
    """Train, or go on where a run stopped, with a checkpoint after every second iteration."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    env = PointMass(ROWS, horizon=6)
    policy = MLPPolicy(env.spec, MLPConfig(hidden=(16,)))
    config = TrainConfig(
        total_steps=iterations * ROWS * STEPS,
        checkpoint_interval=2 * ROWS * STEPS,
        algo=PPOConfig(num_steps=STEPS, num_epochs=2, num_minibatches=2),
    )
    found = checkpoint.latest(Path(directory))
    train(env, policy, config, directory, resume=found)


def lines(path: Path) -> int:
    """Log lines so far."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(directory: Path, iterations: int, kills: int) -> int:
    """Kill the run so many times at random moments, then let it finish; returns how many checkpoints were seen.

    Each moment is a random number of iterations after the start, plus some milliseconds: some kills hit the start-up,
    some the update, some a checkpoint being written, however fast the machine is.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    context = get_context("forkserver")  # imports torch once and forks from there
    context.set_forkserver_preload(["tests.slow.test_kill", "torch.utils.tensorboard"])
    moments, log, seen = random.Random(0), directory / "metrics.jsonl", set()
    for _ in range(kills):
        enough = lines(log) + moments.randrange(12)
        child = context.Process(target=run, args=(str(directory), iterations))
        child.start()
        while lines(log) < enough and child.is_alive():
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.04))
        child.kill()
        child.join()
        newest = checkpoint.latest(directory)
        if newest is not None:
            checkpoint.load(newest).training()  # complete and undamaged
            seen.add(newest.name)
    child = context.Process(target=run, args=(str(directory), iterations))
    child.start()
    child.join()
    assert child.exitcode == 0
    return len(seen)


def compare(tmp_path: Path, iterations: int, kills: int) -> None:
    seen = killed(tmp_path / "killed", iterations, kills)
    assert seen > kills // 2, "the kills came before anything was written"
    run(str(tmp_path / "whole"), iterations)
    paths = [checkpoint.find(tmp_path / name) / "model.safetensors" for name in ("killed", "whole")]
    assert paths[0].parent.name == paths[1].parent.name
    models = [load_file(path) for path in paths]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[1])
    log = read_jsonl(tmp_path / "killed" / "metrics.jsonl")
    assert [record["iteration"] for record in log] == list(range(1, iterations + 1))


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    compare(tmp_path, iterations=150, kills=20)
