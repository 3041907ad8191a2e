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
from .models import made

DECODINGS = ("autoregressive", "parallel")


@pytest.mark.parametrize("decoding", DECODINGS)
def test_cloning_learns_by_adapters_and_leaves_a_small_checkpoint(decoding: str, weights: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = Squares(1).spec
    policy = made(weights, spec, decoding=decoding)
    base = policy.network.language.lm_head.base_layer.weight.clone()
    config = ImitationConfig(steps=12, batch_size=16, learning_rate=5e-3, ema_decay=0.5, **QUICK)
    losses: list[float] = []
    result = clone(policy, spec, demonstrations(64), config, tmp_path, on_progress=[lambda r: losses.append(r["loss"])])
    assert result.finished and np.mean(losses[-3:]) < 0.8 * losses[0]
    assert torch.equal(policy.network.language.lm_head.base_layer.weight, base)

    found = checkpoint.load(tmp_path)
    assert all("lora_" in name or "critic." in name or name.startswith("normalizer.") for name in found.model)
    other, normalizer = made(weights, spec, decoding=decoding), ObsNormalizer.of(spec)
    checkpoint.load_model(found, other, normalizer)
    checkpoint.load_pretrained(found, made(weights, spec, decoding=decoding), spec, normalizer)
    before, after = (each.imitation_loss(*seen()).mean() for each in (made(weights, spec, decoding=decoding), other))
    assert after < before


@pytest.mark.parametrize("decoding", DECODINGS)
def test_ppo_runs_and_continues_where_it_stopped(decoding: str, weights: Path, tmp_path: Path) -> None:
    spec = Squares(1).spec
    algo = PPOConfig(
        num_steps=2, num_minibatches=2, num_epochs=1, schedule="constant", learning_rate=1e-3, entropy_coef=0.0,
        critic_learning_rate=3e-3, critic_warmup=1, value_huber=10.0, micro_batch=5, target_kl=1.0,
    )  # fmt: skip
    settings: dict[str, Any] = {"checkpoint_interval": 16, "algo": algo, **QUICK}
    records: list[dict[str, Any]] = []

    def run(folder: Path, steps: int, resume: Path | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        policy = made(weights, spec, decoding=decoding)
        env: Any = Squares(8)
        result = train(env, policy, TrainConfig(total_steps=steps, **settings), folder, resume, [records.append], {})
        return checkpoint.load(result.checkpoint).model

    whole = run(tmp_path / "whole", 48)
    assert [r["iteration"] for r in records] == [1, 2, 3]
    assert records[0]["kl"] < 1e-6 and records[-1]["grad_norm/actor"] > 0
    run(tmp_path / "parts", 32)
    continued = run(tmp_path / "parts", 48, tmp_path / "parts")
    assert whole.keys() == continued.keys()
    assert all(torch.equal(x, continued[name]) for name, x in whole.items())
