"""The rsl_rl view of a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("rsl_rl")

from rsl_rl.runners import OnPolicyRunner

import envs
from envs.adapters.rsl_rl import RslRlVecEnv, obs_groups

ONES = torch.ones(3, 2)


def test_step(toy: Callable[..., Any]) -> None:
    env = RslRlVecEnv(toy())
    assert (env.num_envs, env.num_actions, env.max_episode_length) == (3, 2, 5)
    assert env.get_observations()["critic"].shape == (3, 1)
    env.step(ONES)
    obs, reward, dones, extras = env.step(ONES)
    assert dones.tolist() == [1, 0, 0] and reward.tolist() == [2.0, 2.0, 2.0]
    assert extras["time_outs"].tolist() == [0.0, 0.0, 0.0] and float(extras["log"]["episode/return"]) == 4.0
    assert obs["policy"][:, 0].tolist() == [0.0, 2.0, 2.0] and env.episode_length_buf.tolist() == [0, 2, 2]
    for _ in range(3):
        _, _, dones, extras = env.step(ONES)
    assert dones.tolist() == [0, 1, 0] and extras["time_outs"].tolist() == [0.0, 1.0, 0.0]


def test_writing_the_episode_length_moves_the_horizon(toy: Callable[..., Any]) -> None:
    env = RslRlVecEnv(toy())
    env.episode_length_buf = torch.tensor([0, 4, 0])
    assert env.step(ONES)[3]["time_outs"].tolist() == [0.0, 1.0, 0.0]


def test_a_horizon_is_needed(toy: Callable[..., Any]) -> None:
    task = toy()
    task.spec = dataclasses.replace(task.spec, horizon=0)
    with pytest.raises(ValueError, match="max_episode_length"):
        RslRlVecEnv(task)
    assert RslRlVecEnv(task, max_episode_length=9).max_episode_length == 9


def test_inference_mode_leaves_no_mark(toy: Callable[..., Any]) -> None:
    task = toy()
    env = RslRlVecEnv(task)
    with torch.inference_mode():
        env.step(ONES.clone())
    task.action += 1.0  # an inference tensor would refuse


def runner_config(groups: dict[str, list[str]]) -> dict[str, Any]:
    net = {"class_name": "MLPModel", "hidden_dims": [16], "activation": "elu", "obs_normalization": True}
    normal = {"class_name": "GaussianDistribution", "init_std": 1.0}
    return {
        "num_steps_per_env": 8,
        "save_interval": 100,
        "obs_groups": groups,
        "actor": net | {"distribution_cfg": normal},
        "critic": dict(net),
        "algorithm": {"class_name": "PPO", "num_learning_epochs": 1, "num_mini_batches": 2, "schedule": "adaptive"},
    }


def test_rsl_rls_runner_trains_two_iterations(tmp_path: Path) -> None:
    env = RslRlVecEnv(envs.make("half_cheetah", num_worlds=4, num_threads=1))
    runner = OnPolicyRunner(env, runner_config(obs_groups(env.env)), log_dir=str(tmp_path), device="cpu")
    before = [parameter.clone() for parameter in runner.alg.actor.parameters()]
    runner.learn(2, init_at_random_ep_len=True)
    after = list(runner.alg.actor.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(bool(torch.isfinite(a).all()) for a in after)
