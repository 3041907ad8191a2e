"""Evaluation counts exactly the episodes it should, without favouring short ones."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from embodied.evaluate import evaluate, quotas, summarise
from embodied.normalize import ObsNormalizer
from embodied.statistics import wilson
from embodied.types import StepResult
from policies.gru import GRUConfig, GRUPolicy
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import PointMass, Recall, TinyEnv, spec_of


class Coin(TinyEnv):
    """An episode lasts 1 or 9 steps, each with probability 1/2: 5 on average. It succeeds if it is long."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows, 1)
        self.spec = spec_of("coin", 1, 1, horizon=100, success_metric="long")

    def begin(self, rows: int) -> Tensor:
        return 1.0 + 8.0 * torch.randint(0, 2, (rows, 1), generator=self.generator)

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(self.num_rows), self.clock + 1 >= self.x.squeeze(-1)

    def step(self, action: Tensor) -> StepResult:
        result = super().step(action)
        result.metrics["long"] = (result.metrics["length"] > 5).float()
        return result


def stand(obs: dict[str, Tensor]) -> Tensor:
    return torch.zeros(obs["policy"].shape[0], 1, 1)


def test_short_episodes_are_not_favoured() -> None:
    # The first 256 episodes to end among 256 rows would last 1.8 steps on average.
    result = evaluate(Coin(256), stand, episodes=256, seed=0)
    length = result["metrics"]["length"]
    assert length["mean"] == pytest.approx(5.0, abs=0.6)
    assert length["low"] < 5.0 < length["high"]
    assert result["steps"] == length["mean"] * 256


def test_quotas_add_up_and_differ_by_one_at_most() -> None:
    assert quotas(7, 3).tolist() == [3, 2, 2]
    assert quotas(2, 4).tolist() == [1, 1, 0, 0]


def test_proportions_get_wilsons_interval_and_everything_is_json() -> None:
    result = evaluate(Coin(16), stand, episodes=40, seed=3, keep_episodes=True)
    long = result["metrics"]["long"]
    assert long["n"] == 40
    assert (long["low"], long["high"]) == wilson(round(long["mean"] * 40), 40)
    assert len(result["per_episode"]["length"]) == 40
    assert json.loads(json.dumps(result)) == result


def test_the_same_seed_gives_the_same_episodes_and_leaves_the_global_generator_alone() -> None:
    env = PointMass(8)
    policy = MLPPolicy(env.spec, MLPConfig(hidden=(8,)))
    before = torch.get_rng_state()
    runs = [evaluate(PointMass(8), policy, 20, seed=5, deterministic=False, keep_episodes=True) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert runs[0]["per_episode"] == runs[1]["per_episode"]
    other = evaluate(PointMass(8), policy, 20, seed=6, deterministic=False, keep_episodes=True)
    assert other["per_episode"] != runs[0]["per_episode"]


def test_a_policy_sees_standardised_observations_and_its_own_memory() -> None:
    env = Recall(4, horizon=3)
    policy = GRUPolicy(env.spec, GRUConfig(memory_size=4))
    seen: list[Any] = []
    act = policy.act
    policy.act = lambda obs, memory, deterministic: seen.append((obs, memory)) or act(obs, memory, deterministic)  # type: ignore
    normalizer = ObsNormalizer.of(env.spec)
    normalizer.accumulate({"policy": torch.randn(50, 2) + 3, "critic": torch.randn(50, 2)})
    normalizer.commit()
    evaluate(env, policy, episodes=8, seed=0, see=normalizer)
    memories = [memory["h"].abs().sum().item() for _, memory in seen]
    assert [m == 0 for m in memories] == [True, False, False, True, False, False]
    assert seen[0][0]["policy"].mean() < -1.0


def test_which_episodes_crashed_is_kept() -> None:
    env = Coin(4)
    step = env.step

    def failing(action: Tensor) -> StepResult:
        result = step(action)
        result.metrics["physics_failure"] = torch.tensor([0.0, 1.0, 0.0, 0.0])
        return result

    env.step = failing  # type: ignore[method-assign]
    result = evaluate(env, stand, episodes=8, seed=0, keep_episodes=True)
    assert result["per_episode"]["crashed"] == [0, 0, 1, 1, 0, 0, 0, 0] and result["crashed"] == 2


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    evaluate(Coin(4), stand, episodes=6, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (6, 6)
    assert told == sorted(told)


def test_a_crashed_episode_is_a_failure() -> None:
    nan = float("nan")
    good = {"success": 1.0, "fall": 0.0, "return": 3.0}
    records = [good, good, {"success": 1.0, "fall": 0.0, "return": nan}, {"success": nan, "fall": nan, "return": nan}]
    summary = summarise(records, "success")
    assert summary["success"]["mean"] == 0.5 and summary["success"]["n"] == 4
    assert summary["fall"]["mean"] == 0.5
    assert summary["return"] == {"mean": 3.0, "std": 0.0, "low": 3.0, "high": 3.0, "n": 2}


def test_a_broken_world_is_a_crash_and_a_figure_that_does_not_apply_is_none() -> None:
    nan = float("nan")
    broken = {"success": 1.0, "fall": 0.0, "return": 3.0, "physics_failure": 1.0, "level": 2.0}
    other = {"success": 1.0, "fall": 0.0, "return": 3.0, "physics_failure": 0.0, "level": nan}
    summary = summarise([broken, other], "success")
    assert summary["success"]["mean"] == 0.5 and summary["fall"]["mean"] == 0.5
    assert summary["level"]["n"] == 1 and summary["level"]["mean"] == 2.0


def test_a_metric_that_never_was_finite_has_no_mean() -> None:
    assert summarise([{"x": float("inf")}])["x"] == {"mean": None, "std": None, "low": None, "high": None, "n": 0}


def test_no_episodes_is_an_error() -> None:
    with pytest.raises(ValueError, match="episodes=0"):
        evaluate(Coin(2), stand, episodes=0)


def test_a_conditional_proportion_counts_where_it_applies() -> None:
    played = {"return": 0.0, "length": 5.0}
    records = [{**played, "followed": value} for value in (1.0, 0.0, 1.0, math.nan, math.nan)]
    figure = summarise(records)["followed"]
    assert (figure["n"], figure["mean"]) == (3, pytest.approx(2 / 3))
    assert (figure["low"], figure["high"]) == wilson(2.0, 3)
    crashed = {**played, "return": math.nan, "followed": 1.0}
    assert summarise([*records, crashed])["followed"]["n"] == 3
