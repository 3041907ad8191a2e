from __future__ import annotations

from pathlib import Path

import torch

from embodied import checkpoint as checkpoints
from scripts.agents import load_agent

from .helpers import tiny_run


def test_an_agent_acts_by_the_tensors_of_its_checkpoint(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "runs" / "hopper" / "a")
    policy, normalizer, spec, config = load_agent(run)
    assert spec.name == config["task"]["name"] == "hopper"
    assert normalizer is not None
    raw = 3 * torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    action = policy.act(normalizer({"policy": raw}), deterministic=True).action

    x = checkpoints.load(run).model
    moments = x["normalizer.moments.policy.mean"], x["normalizer.moments.policy.var"]
    seen = ((raw.double() - moments[0]) / (moments[1] + 1e-4).sqrt()).clamp(-10, 10).float()
    hidden = torch.nn.functional.elu(seen @ x["policy.actor.0.weight"].T + x["policy.actor.0.bias"])
    expected = hidden @ x["policy.actor.2.weight"].T + x["policy.actor.2.bias"]
    assert torch.allclose(action[:, 0], expected, atol=1e-5)
    assert expected.abs().max() > 0
