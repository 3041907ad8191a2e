"""The loop learns, repeats itself bit for bit, resumes bit for bit, and stops safely."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import envs
import policies
from embodied import checkpoint
from embodied.guards import GuardConfig
from embodied.metrics import read_jsonl
from embodied.ppo import PPOConfig
from embodied.train import TrainConfig, Trainer, TrainingDiverged, TrainingStopped, TrainResult, train
from embodied.types import StepResult
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import PointMass, Recall

from .groups import Line

ROLLOUT = 32 * 12


def go(run_dir: Path, iterations: int, kind: str = "mlp", env: Any = None, seed: int = 0, **more: Any) -> TrainResult:
    """Train a small policy for some iterations of 32 rows x 12 steps."""
    torch.manual_seed(seed)
    env = env or (Recall(32) if kind == "gru" else PointMass(32))
    sizes = {"hidden": [16], "critic_hidden": [16]} | ({"memory_size": 16} if kind == "gru" else {})
    policy = policies.make({"kind": kind, **sizes}, env.spec)
    algo = PPOConfig(num_steps=12, **more.pop("algo", {}))
    resume = more.pop("resume", None)
    listeners = more.pop("on_progress", ())
    settings = {"checkpoint_interval": 10**9, "total_steps": iterations * ROLLOUT, "seed": seed, "algo": algo} | more
    return train(env, policy, TrainConfig(**settings), run_dir, resume, listeners)


def model(result: TrainResult) -> dict[str, Tensor]:
    return load_file(result.checkpoint / "model.safetensors")


def equal(a: TrainResult, b: TrainResult) -> bool:
    x, y = model(a), model(b)
    return x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)


def figures(run_dir: Path) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    clock = ("seconds", "steps_per_second", "collect_seconds", "decide_seconds", "update_seconds")
    return [{k: v for k, v in r.items() if k not in clock} for r in read_jsonl(run_dir / "metrics.jsonl")]


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_ratios_begin_at_one_at_a_lower_precision(tmp_path: Path, kind: str) -> None:
    still = PPOConfig(num_steps=12, learning_rate=1e-12, schedule="constant")
    env = Recall(256) if kind == "gru" else PointMass(256)
    sizes = {"hidden": [128, 128]} | ({"memory_size": 128} if kind == "gru" else {})
    torch.manual_seed(0)
    policy = policies.make({"kind": kind, **sizes}, env.spec)
    config = TrainConfig(algo=still, total_steps=2 * 256 * 12, matmul_precision="medium")
    result = train(env, policy, config, tmp_path)
    assert result.record["kl"] < 1e-9 and result.record["clip_fraction"] == 0


def test_a_perceptron_learns_to_go_to_the_origin(tmp_path: Path) -> None:
    result = go(tmp_path, 40, algo={"entropy_coef": 0.0, "symmetry": "augment"})
    log = [record for record in read_jsonl(tmp_path / "metrics.jsonl") if "episode/return" in record]
    assert log[0]["episode/return"] < -8
    assert log[-1]["episode/return"] > -4
    assert log[-1]["explained_variance"] > 0.7
    assert result.finished and result.env_steps == 40 * ROLLOUT


def test_a_memory_solves_what_a_perceptron_cannot(tmp_path: Path) -> None:
    options = {"algo": {"entropy_coef": 0.0, "gamma": 0.9, "num_minibatches": 2}}
    gru = go(tmp_path / "gru", 40, "gru", env=Recall(32, horizon=3), **options)
    mlp = go(tmp_path / "mlp", 40, "mlp", env=Recall(32, horizon=3), **options)
    assert gru.record["episode/return"] > 0.7
    assert mlp.record["episode/return"] < 0.25


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    first, again, other = (go(tmp_path / name, 3, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert equal(first, again)
    assert not equal(first, other)
    assert figures(tmp_path / "a") == figures(tmp_path / "b")


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"algo": {"normalize_reward": True, "normalize_value": True}, "episode_window": 40}
    whole = go(tmp_path / "whole", 7, kind, **options)
    go(tmp_path / "parts", 4, kind, **options)
    resumed = go(tmp_path / "parts", 7, kind, resume=tmp_path / "parts", **options)
    assert equal(whole, resumed)
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")
    states = [checkpoint.load(r.checkpoint).training() for r in (whole, resumed)]
    for state in states:
        state["counters"].pop("seconds")
    assert flat(states[0]) == flat(states[1])


def flat(tree: Any) -> str:
    """A nested state as text, tensors by their bits."""
    return json.dumps(tree, default=lambda x: x.tolist(), sort_keys=True)


def test_checkpoints_come_at_intervals_and_hold_the_configuration(tmp_path: Path) -> None:
    result = go(tmp_path, 5, checkpoint_interval=2 * ROLLOUT, keep_checkpoints=2)
    steps = [int(path.name[5:]) for path in checkpoint.complete(tmp_path)]
    assert steps == [4 * ROLLOUT, 5 * ROLLOUT]
    found = checkpoint.load(result.checkpoint)
    assert found.config["algo"]["num_steps"] == 12
    assert found.spec == PointMass(1).spec
    assert found.iteration == 5


def test_going_on_from_an_earlier_checkpoint_writes_what_follows_anew(tmp_path: Path) -> None:
    whole = go(tmp_path, 4, checkpoint_interval=ROLLOUT)
    bits = model(whole)
    early = checkpoint.complete(tmp_path)[1]
    again = go(tmp_path, 3, resume=early)
    assert [int(p.name[5:]) // ROLLOUT for p in checkpoint.complete(tmp_path)] == [2, 3]
    assert [r["iteration"] for r in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    assert any(not torch.equal(bits[name], x) for name, x in model(again).items())


def test_a_folder_with_another_run_is_not_overwritten(tmp_path: Path) -> None:
    go(tmp_path / "a", 1)
    with pytest.raises(FileExistsError, match=r"already holds step_.* of another run: resume="):
        go(tmp_path / "a", 1)
    go(tmp_path / "b", 1)
    with pytest.raises(FileExistsError, match="another run"):
        go(tmp_path / "a", 2, resume=tmp_path / "b")


def test_a_finished_run_can_be_resumed_without_harm(tmp_path: Path) -> None:
    done = go(tmp_path, 2)
    again = go(tmp_path, 2, resume=tmp_path)
    assert again.checkpoint == done.checkpoint and again.finished
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == 2


class Poisoned(PointMass):
    """Rewards turn into NaN after some steps."""

    def __init__(self, rows: int, after: int) -> None:
        super().__init__(rows)
        self.left = after

    def step(self, action: Tensor) -> StepResult:
        result = super().step(action)
        self.left -= 1
        if self.left < 0:
            result.reward = torch.full_like(result.reward, float("nan"))
        return result


def test_nan_stops_the_run_and_spares_the_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"at step 768 \(iteration 2\).*the last good checkpoint is .*0768"):
        go(tmp_path, 5, env=Poisoned(32, after=30), checkpoint_interval=ROLLOUT, keep_checkpoints=2)
    found = checkpoint.load(tmp_path)
    assert found.env_steps == 2 * ROLLOUT
    assert all(x.isfinite().all() for x in found.model.values())


def test_nan_before_any_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="no checkpoint had been written"):
        go(tmp_path, 5, env=Poisoned(32, after=0))


class Mute(PointMass):
    """Never rewards."""

    def step(self, action: Tensor) -> StepResult:
        result = super().step(action)
        result.reward = torch.zeros_like(result.reward)
        return result


def test_a_guard_stops_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match=rf"stopped at step {2 * ROLLOUT}: all rewards were 0 for 2 .*000768$"):
        go(tmp_path, 5, env=Mute(32), guards=GuardConfig(zero_signal=2))
    assert checkpoint.load(tmp_path).env_steps == 2 * ROLLOUT
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == 2
    assert go(tmp_path, 3, env=Mute(32), guards=GuardConfig(zero_signal=2), resume=tmp_path).finished


def test_a_signal_ends_the_run_with_a_checkpoint_that_can_be_resumed(tmp_path: Path) -> None:
    records: list[int] = []

    def interrupt(record: dict[str, Any]) -> None:
        records.append(record["iteration"])
        if record["iteration"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = go(tmp_path / "a", 6, on_progress=[interrupt])
    assert not stopped.finished and stopped.iteration == 3 and records == [1, 2, 3]
    assert equal(go(tmp_path / "a", 6, resume=tmp_path / "a"), go(tmp_path / "b", 6))


def test_log_interval_thins_the_log_but_keeps_the_last_record(tmp_path: Path) -> None:
    go(tmp_path, 5, log_interval=2)
    assert [r["iteration"] for r in read_jsonl(tmp_path / "metrics.jsonl")] == [2, 4, 5]


GROUPED: dict[str, dict[str, Any]] = {
    "grpo": {"advantage": "group_relative", "schedule": "constant", "learning_rate": 3e-3},
    "dpo": {"loss": "dpo", "schedule": "constant", "learning_rate": 3e-3, "num_epochs": 2},
}


@pytest.mark.parametrize("kind", GROUPED)
def test_whole_episodes_of_groups_that_begin_alike(tmp_path: Path, kind: str) -> None:
    env = Line(32, horizon=12)
    starts: list[Tensor] = []
    reset = env.reset

    def noted(seed: int | None = None) -> dict[str, Tensor]:
        assert seed is not None
        obs = reset(seed)
        starts.append(obs["policy"].view(4, 8))
        return obs

    env.reset = noted  # type: ignore[method-assign]
    go(tmp_path, 3, env=env, algo=GROUPED[kind])
    assert len(starts) == 3 and all((x == x[:, :1]).all() for x in starts)
    assert len({x.sum().item() for x in starts}) == 3


@pytest.mark.parametrize("kind", GROUPED)
def test_a_resumed_run_of_groups_equals_an_uninterrupted_one(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"algo": GROUPED[kind]}
    whole = go(tmp_path / "whole", 5, env=Line(32, horizon=12), **options)
    go(tmp_path / "parts", 3, env=Line(32, horizon=12), **options)
    resumed = go(tmp_path / "parts", 5, env=Line(32, horizon=12), resume=tmp_path / "parts", **options)
    assert equal(whole, resumed)
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")


@pytest.mark.parametrize("kind", GROUPED)
def test_groups_teach_to_end_at_the_origin(kind: str) -> None:
    torch.manual_seed(0)
    env = Line(64)
    policy = MLPPolicy(env.spec, MLPConfig(hidden=(16,), init_std=0.7))
    algo = PPOConfig(**{"num_steps": 4, "num_minibatches": 2, "num_epochs": 3, "entropy_coef": 0.0} | GROUPED[kind])
    trainer = Trainer(env, policy, TrainConfig(algo=algo, episode_window=64))
    records = [trainer.iterate() for _ in range(60)]
    assert records[0]["episode/success"] < 0.4
    assert sum(record["episode/success"] for record in records[-5:]) / 5 > 0.75


def test_the_tabletop_begins_alike_in_groups_in_every_rollout() -> None:
    options = {"image_size": 0, "chunk": 4, "horizon": 8, "group": 2}
    env = envs.make("put_on_plate", num_worlds=4, num_threads=1, overrides=options)
    policy: Any = policies.make({"kind": "mlp", "hidden": [8]}, env.spec)
    algo = PPOConfig(num_steps=2, num_minibatches=1, advantage="group_relative", group_size=2)
    trainer = Trainer(env, policy, TrainConfig(algo=algo, normalize_observations=False))
    starts = []
    for _ in range(2):
        trainer.iterate()
        told, seen = (trainer.rollout.obs[name][0].view(2, 2, -1) for name in ("instruction", "critic"))
        assert torch.equal(told[:, 0], told[:, 1]) and torch.equal(seen[:, 0], seen[:, 1])
        starts.append(seen.clone())
    env.close()
    assert not torch.equal(starts[0], starts[1]) and not torch.equal(starts[0][0], starts[0][1])


def test_returns_of_groups_are_not_discounted_inside_a_decision() -> None:
    env = Line(16)
    env.spec = dataclasses.replace(env.spec, action=dataclasses.replace(env.spec.action, chunk=2))
    policy = MLPPolicy(env.spec, MLPConfig(hidden=(4,)))
    for advantage, discount in (("group_relative", 1.0), ("gae", 0.9)):
        Trainer(env, policy, TrainConfig(algo=PPOConfig(num_steps=4, gamma=0.9, advantage=advantage)))
        assert env.discount == discount  # type: ignore[attr-defined]


def test_the_guard_stops_groups_without_any_reward(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="all rewards were 0 for 2 iterations"):
        env = Line(32, horizon=12, lucky=0.0)
        go(tmp_path, 5, env=env, guards=GuardConfig(zero_signal=2), algo=GROUPED["grpo"])
    assert [record["updates_skipped"] for record in read_jsonl(tmp_path / "metrics.jsonl")] == [1.0, 2.0]


def test_without_a_normalizer_the_policy_sees_raw_observations(tmp_path: Path) -> None:
    result = go(tmp_path, 1, normalize_observations=False)
    assert result.normalizer is None
    assert all(name.startswith("policy.") for name in model(result))
