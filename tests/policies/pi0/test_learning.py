"""SFT and PPO by the suite's own learner, a few iterations each, and their checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embodied import checkpoint
from embodied.imitation import ImitationConfig, clone
from embodied.normalize import ObsNormalizer
from embodied.ppo import PPOConfig
from embodied.train import TrainConfig, train

from ..foundation.learning import QUICK, demonstrations, seen
from ..vla.squares import Squares
from .models import LORA, made


@pytest.mark.parametrize("settings", [{}, {"lora": LORA}], ids=["expert", "lora"])
def test_cloning_learns_and_leaves_a_checkpoint_of_what_learnt(
    settings: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    spec = Squares(1).spec
    policy = made(weights, spec=spec, **settings)
    config = ImitationConfig(steps=20, batch_size=32, learning_rate=5e-3, ema_decay=0.5, **QUICK)
    losses: list[float] = []
    clone(policy, spec, demonstrations(64), config, tmp_path, on_progress=[lambda r: losses.append(r["loss"])])
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:2])

    found = checkpoint.load(tmp_path)
    other, normalizer = made(weights, spec=spec, **settings), ObsNormalizer.of(spec)
    before = imitation(other)
    checkpoint.load_model(found, other, normalizer)
    assert imitation(other) < before
    start = made(weights, "flow_sde", spec, **settings)
    checkpoint.load_pretrained(found, start, spec, normalizer)
    assert imitation(start) == imitation(other)


@torch.no_grad()
def imitation(policy: Any) -> float:
    torch.manual_seed(0)
    return policy.imitation_loss(*seen()).mean().item()


@pytest.mark.parametrize("rule", ["flow_noise", "flow_sde"])
def test_ppo_runs_and_continues_where_it_stopped(rule: str, weights: Path, tmp_path: Path) -> None:
    algo = PPOConfig(
        num_steps=2, num_minibatches=2, num_epochs=1, schedule="constant", learning_rate=1e-4, entropy_coef=0.0,
        critic_learning_rate=1e-3, critic_warmup=1, micro_batch=5, target_kl=1.0,
    )  # fmt: skip
    settings: dict[str, Any] = {"checkpoint_interval": 16, "algo": algo, **QUICK}
    records: list[dict[str, Any]] = []

    def run(folder: Path, steps: int, resume: Path | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        env: Any = Squares(8)
        policy = made(weights, rule, env.spec)
        result = train(env, policy, TrainConfig(total_steps=steps, **settings), folder, resume, [records.append], {})
        return checkpoint.load(result.checkpoint).model

    whole = run(tmp_path / "whole", 48)
    assert [r["iteration"] for r in records] == [1, 2, 3]
    assert records[0]["kl"] < 1e-4 and records[-1]["grad_norm/actor"] > 0
    run(tmp_path / "parts", 32)
    continued = run(tmp_path / "parts", 48, tmp_path / "parts")
    assert whole.keys() == continued.keys()
    assert all(torch.equal(x, continued[name]) for name, x in whole.items())
