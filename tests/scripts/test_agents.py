from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from embodied import checkpoint as checkpoints
from embodied.types import ObsGroup
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


def test_the_critics_group_is_zeros_where_it_is_told_otherwise(tmp_path: Path) -> None:
    agent = load_agent(tiny_run(tmp_path / "runs" / "hopper" / "a"))
    assert agent.normalizer is not None
    spec = dataclasses.replace(agent.spec, obs={**agent.spec.obs, "critic": ObsGroup(shape=(3,))})
    agent = agent._replace(spec=spec)
    obs = {"policy": torch.randn(5, 11)}
    told = torch.randn(5, 3)
    expected = agent.normalizer(obs)["policy"]
    for given, critic in ((None, torch.zeros(5, 3)), (torch.randn(5, 2), torch.zeros(5, 3)), (told, told)):
        seen = agent.see(obs if given is None else {**obs, "critic": given})
        assert torch.equal(seen["critic"], critic)
        assert torch.equal(seen["policy"], expected)
    assert "critic" not in obs
