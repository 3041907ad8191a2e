"""Two processes with half of the rows each do what one does with all of them."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from embodied import checkpoint, distributed
from embodied.metrics import EpisodeWindow, read_jsonl
from embodied.normalize import ObsNormalizer
from embodied.ppo import PPO, PPOConfig
from embodied.preferences import DPO
from embodied.rollout import Carry, Rollout, collect
from embodied.train import TrainConfig, train
from embodied.tree import load_tree, save_tree
from embodied.types import StepResult
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import PointMass

from .groups import Line

ROWS, STEPS = 16, 10
# Adam divides by the root of the squared gradient; an epsilon well above rounding keeps the comparison meaningful.
CONFIG = PPOConfig(
    num_minibatches=1, num_epochs=4, adam_eps=1e-4, desired_kl=1e-4, normalize_reward=True, normalize_value=True
)


def policy_of(seed: int) -> MLPPolicy:
    torch.manual_seed(seed)
    return MLPPolicy(PointMass(1).spec, MLPConfig(hidden=(16,)))


def rollout_of_all() -> tuple[Rollout, ObsNormalizer]:
    env, policy = PointMass(ROWS, horizon=6), policy_of(0)
    normalizer = ObsNormalizer.of(env.spec)
    rollout = Rollout(STEPS, ROWS)
    collect(env, policy, rollout, Carry.start(env, policy, env.reset(seed=0)), normalizer)
    return rollout, normalizer


def part(rollout: Rollout, rows: slice, masked: bool) -> Rollout:
    """Some rows of a rollout; with ``masked``, rows 0, 1 and 2 of the whole are inactive: ranks count unequally."""
    piece = Rollout(rollout.num_steps, len(range(ROWS)[rows]))
    for name in ("action", "log_prob", "value", "reward", "bootstrap", "terminated", "truncated", "success"):
        setattr(piece, name, getattr(rollout, name)[:, rows].clone())
    piece.obs = {name: x[:, rows].clone() for name, x in rollout.obs.items()}
    piece.last_value = rollout.last_value[rows].clone()
    active = torch.ones(rollout.num_steps, ROWS, dtype=torch.bool)
    active[:, :3] = not masked
    piece.active, piece.all_active = active[:, rows].clone(), not masked
    return piece


def learn(rows: slice, policy: MLPPolicy, masked: bool) -> dict[str, Any]:
    whole, _ = rollout_of_all()
    ppo = PPO(policy, CONFIG)
    figures = ppo.update(part(whole, rows, masked))
    return {
        "parameters": torch.cat([p.detach().flatten() for p in policy.parameters()]),
        "figures": figures,
        "reward variance": float(ppo.reward_scaler.moments.var),  # type: ignore[union-attr]
    }


GROUPS = {
    "grpo": PPOConfig(advantage="group_relative", group_size=4, num_minibatches=1, num_epochs=2, adam_eps=1e-4),
    "dpo": PPOConfig(loss="dpo", schedule="constant", group_size=4, num_minibatches=1, num_epochs=2, adam_eps=1e-4),
}


def line_policy(seed: int) -> MLPPolicy:
    torch.manual_seed(seed)
    return MLPPolicy(Line(4, group=4).spec, MLPConfig(hidden=(16,)))


def learn_groups(rows: slice, policy: MLPPolicy, kind: str, winners: tuple[int, ...]) -> dict[str, Any]:
    """An update on groups of 4, of which the second never teaches anything."""
    env, actor, whole = Line(ROWS, group=4), line_policy(0), Rollout(4, ROWS)
    collect(env, actor, whole, Carry.start(env, actor, env.reset(seed=0)), values=False)
    whole.success.zero_()
    whole.success[3, list(winners)] = 1.0
    whole.reward = whole.success.clone()
    learner = DPO(policy, GROUPS[kind]) if kind == "dpo" else PPO(policy, GROUPS[kind])
    figures = learner.update(part(whole, rows, masked=False))
    return {"parameters": torch.cat([p.detach().flatten() for p in policy.parameters()]), "figures": figures}


MIXED, ONE_SIDED = (0, 8, 9, 13), (0,)
"""Rows that succeed: three groups of four teach something; only one does, which is rank 0's."""


def statistics(rows: slice) -> dict[str, Any]:
    """Observation moments, moments of a tensor and episode means from some rows."""
    env = PointMass(ROWS)
    normalizer = ObsNormalizer.of(env.spec)
    obs = {
        name: 3 + torch.randn(x.shape, generator=torch.Generator().manual_seed(5)) for name, x in env.observe().items()
    }
    normalizer.accumulate({name: x[rows] for name, x in obs.items()})
    normalizer.commit()
    mean, var = distributed.moments(obs["policy"][rows])
    window, done = EpisodeWindow(), torch.ones(ROWS, dtype=torch.bool)[rows]
    figures = {"return": torch.arange(float(ROWS))[rows]}
    if rows.start == 0:
        figures["only on rank 0"] = torch.ones(len(done))
    window.add(StepResult({}, torch.zeros(len(done)), done, ~done, {}, figures))
    return {"normalizer": normalizer.state_dict(), "moments": [mean, var], "episodes": window.commit()}


def run_training(directory: Path, rank: int, steps: int, resume: bool) -> dict[str, Any]:
    env = PointMass(8, horizon=6)
    config = TrainConfig(total_steps=steps, algo=PPOConfig(num_steps=STEPS), checkpoint_interval=320)
    torch.manual_seed(rank)  # different networks at first: rank 0's are to be used
    policy = MLPPolicy(env.spec, MLPConfig(hidden=(16,)))
    result = train(env, policy, config, directory, resume=directory if resume else None)
    parameters = torch.cat([p.detach().flatten() for p in policy.parameters()])
    return {"steps": result.env_steps, "parameters": parameters, "position": env.x}


def everything(rank: int, world: int, port: int, directory: str) -> None:
    """What one rank does; its results go to a file."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init()
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (rank, world, rank == 0)
    rows = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    whole, first = Path(directory) / "whole", Path(directory) / "parts"
    result = {
        "update": learn(rows, policy_of(rank), masked=False),
        "masked": learn(rows, policy_of(rank), masked=True),
        **{kind: learn_groups(rows, line_policy(rank), kind, MIXED) for kind in GROUPS},
        **{f"{kind} skips": learn_groups(rows, line_policy(rank), kind, ONE_SIDED) for kind in GROUPS},
        "statistics": statistics(rows),
        "any": [distributed.any_rank(rank == 1), distributed.any_rank(False)],
        "whole": run_training(whole, rank, 640, resume=False),
        "half": run_training(first, rank, 320, resume=False),
        "resumed": run_training(first, rank, 640, resume=True),
    }
    save_tree(Path(directory) / f"rank{rank}.safetensors", result)
    distributed.finish()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    directory = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(everything, (2, port, str(directory)), nprocs=2)
    return [load_tree(directory / f"rank{rank}.safetensors") for rank in range(2)], directory


@pytest.mark.parametrize("kind", ["update", "masked"])
def test_an_update_of_two_ranks_equals_one_of_all_rows(ranks: Any, kind: str) -> None:
    a, b = (rank[kind] for rank in ranks[0])
    alone = learn(slice(0, ROWS), policy_of(0), masked=kind == "masked")
    assert torch.equal(a["parameters"], b["parameters"])
    torch.testing.assert_close(a["parameters"], alone["parameters"], rtol=1e-4, atol=1e-5)
    start = torch.cat([p.detach().flatten() for p in policy_of(0).parameters()])
    assert (alone["parameters"] - start).abs().max() > 1e-3  # far more than the tolerance
    assert a["reward variance"] == pytest.approx(alone["reward variance"], rel=1e-9)


@pytest.mark.parametrize("kind", GROUPS)
def test_groups_of_two_ranks_teach_what_all_of_them_do(ranks: Any, kind: str) -> None:
    a, b = (rank[kind] for rank in ranks[0])
    alone = learn_groups(slice(0, ROWS), line_policy(0), kind, MIXED)
    assert torch.equal(a["parameters"], b["parameters"])
    torch.testing.assert_close(a["parameters"], alone["parameters"], rtol=1e-4, atol=1e-5)
    start = torch.cat([p.detach().flatten() for p in line_policy(0).parameters()])
    assert (alone["parameters"] - start).abs().max() > 1e-3
    assert a["figures"]["groups/used"] == alone["figures"]["groups/used"] == 0.75
    named = ("loss/preference", "pairs", "preference/accuracy", "reward") if kind == "dpo" else ("loss/policy", "kl")
    for name in named:
        assert a["figures"][name] == pytest.approx(alone["figures"][name], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", GROUPS)
def test_all_ranks_skip_an_update_that_one_cannot_make(ranks: Any, kind: str) -> None:
    start = torch.cat([p.detach().flatten() for p in line_policy(0).parameters()])
    for rank in (rank[f"{kind} skips"] for rank in ranks[0]):
        assert rank["figures"]["updates_skipped"] == 1.0 and rank["figures"]["groups/used"] == 0.25
        assert torch.equal(rank["parameters"], start)


def test_the_learning_rate_adapts_alike(ranks: Any) -> None:
    rates = [rank["update"]["figures"]["learning_rate"] for rank in ranks[0]]
    alone = learn(slice(0, ROWS), policy_of(0), masked=False)["figures"]
    assert rates[0] == rates[1] == alone["learning_rate"] != CONFIG.learning_rate
    assert ranks[0][0]["update"]["figures"] == pytest.approx(alone, rel=1e-3, abs=1e-5)


def test_statistics_are_those_of_all_rows(ranks: Any) -> None:
    alone = statistics(slice(0, ROWS))
    for rank in (rank["statistics"] for rank in ranks[0]):
        for name, value in alone["normalizer"].items():
            torch.testing.assert_close(rank["normalizer"][name], value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(rank["moments"], alone["moments"], rtol=1e-12, atol=1e-12)
        assert rank["episodes"] == alone["episodes"] == {"episode/return": 7.5, "episode/only on rank 0": 1.0}
    assert [rank["any"] for rank in ranks[0]] == [[True, False], [True, False]]


def test_training_counts_all_worlds_and_only_rank_0_writes(ranks: Any) -> None:
    results, directory = ranks
    assert [rank["whole"]["steps"] for rank in results] == [640, 640]
    assert torch.equal(results[0]["whole"]["parameters"], results[1]["whole"]["parameters"])
    assert not torch.equal(results[0]["whole"]["position"], results[1]["whole"]["position"])
    assert [r["step"] for r in read_jsonl(directory / "whole" / "metrics.jsonl")] == [160, 320, 480, 640]
    names = {path.name for path in checkpoint.find(directory / "whole").iterdir()}
    assert {"training.safetensors", "training_rank1.safetensors"} < names


def test_a_resumed_run_of_two_ranks_equals_an_uninterrupted_one(ranks: Any) -> None:
    for rank in ranks[0]:
        assert torch.equal(rank["resumed"]["parameters"], rank["whole"]["parameters"])
        assert torch.equal(rank["resumed"]["position"], rank["whole"]["position"])


def test_alone_everything_is_a_no_op() -> None:
    x = torch.tensor([1.0, 3.0])
    assert distributed.init() == torch.device("cpu")
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.mean_(x) is x and x.tolist() == [1.0, 3.0]
    assert distributed.gather("x") == ["x"] and distributed.total(2.0) == 2.0
    distributed.barrier()
    distributed.finish()
