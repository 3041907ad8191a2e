from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sim2real.contract import NoiseInfo
from sim2real.deployed import DeployedPolicy
from sim2real.export import ExportError, find_tolerance
from sim2real.recording import Recording
from tests.policies.test_contract import GENERATIVE

from .toys import Agent, make_agent


def test_the_command_is_the_scaled_and_clipped_action(mlp_agent: Agent):
    deployed = DeployedPolicy(mlp_agent.policy, mlp_agent.normalizer, mlp_agent.spec)
    obs = torch.from_numpy(mlp_agent.recording().flat().obs[0])
    with torch.no_grad():
        command, action = deployed(obs)
        seen = mlp_agent.normalizer({"policy": obs[:, 0], "critic": torch.zeros(len(obs), 3)})
        raw = mlp_agent.policy.act(seen, deterministic=True).action.numpy()
    assert (np.abs(raw) > 3).any() and (np.abs(raw) < 3).any()  # both sides of the clip are exercised
    clipped = np.clip(raw, -3, 3)
    expected = np.clip(np.array([0.1, -1.5]) + np.array([0.25, 0.5]) * clipped, [-1.0, -2.0], [1.0, -0.5])
    np.testing.assert_allclose(action.numpy(), clipped, atol=1e-6)
    np.testing.assert_allclose(command.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("name", list(GENERATIVE))
def test_it_decides_as_every_generative_policy_does(name: str):
    """The noise that the policy draws first for a deterministic decision, drawn beside it from the same seed."""
    agent = make_agent(**GENERATIVE[name], seed=0, chunk=2, history=3, inference_noise="random")
    deployed = DeployedPolicy(agent.policy, agent.normalizer, agent.spec)
    obs, memory = torch.from_numpy(agent.recording(1, 4).obs[0]), agent.policy.initial_memory(4)
    with torch.no_grad():
        torch.manual_seed(1)
        seen = agent.normalizer({"policy": obs, "critic": torch.zeros(4, 3)})
        expected = agent.policy.act(seen, memory, deterministic=True)
        torch.manual_seed(1)
        noise = torch.randn(4, *agent.policy.noise_shape)
        _, action, *after = deployed(obs, noise, *(memory[name] for name in sorted(memory)))
    torch.testing.assert_close(action, expected.action.clamp(-3, 3))
    for value, key in zip(after, sorted(memory), strict=True):
        torch.testing.assert_close(value, expected.memory[key])


@pytest.mark.parametrize(("inference_noise", "scale"), [("zero", 0.0), ("random", 1.0)])
def test_the_noise_is_that_of_deterministic_decisions(inference_noise: str, scale: float):
    agent = make_agent("ncdpo", seed=0, chunk=2, inference_noise=inference_noise)
    noise = DeployedPolicy(agent.policy, agent.normalizer, agent.spec).contract.model.noise
    assert noise == NoiseInfo("noise", (4, 2, 2), "normal", scale)  # 4 steps, of which the last draws nothing


def test_rounding_grows_where_the_noise_is_predicted():
    """alpha bar of the first of 20 steps is 6e-6: its x0 is 400 times the network's rounding before it is weighted."""
    rounding = {}
    for prediction in ("epsilon", "x0"):
        agent = make_agent("dppo", 0, chunk=2, diffusion={"train_steps": 20, "prediction": prediction})
        deployed = DeployedPolicy(agent.policy, agent.normalizer, agent.spec)
        before = deployed.replay(recording := deployed.inputs(agent.recording()))
        rounding[prediction] = deployed.rounding(recording)
        np.testing.assert_array_equal(deployed.replay(recording)[1], before[1])  # it is still what it was
    assert 0 < rounding["x0"] < 5e-6 and 10 * rounding["x0"] < rounding["epsilon"] < 1e-3
    assert find_tolerance(deployed, recording) == 1e-5


def test_a_policy_that_rounds_badly_gets_more_tolerance_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    agent = make_agent("fpo", seed=0)
    deployed = DeployedPolicy(agent.policy, agent.normalizer, agent.spec)
    for rounding, tolerance in ((2e-6, 1e-5), (2e-5, 4e-5)):
        monkeypatch.setattr(deployed, "rounding", lambda recording, rounding=rounding: rounding)
        assert find_tolerance(deployed, deployed.inputs(agent.recording())) == tolerance
    monkeypatch.setattr(deployed, "rounding", lambda recording: 6e-4)
    with pytest.raises(ExportError, match=r"off by 0\.0006"):
        find_tolerance(deployed, deployed.inputs(agent.recording()))


def test_scaled_actions_stay_scaled():
    scaling = {"centre": (0.5, -0.5), "width": (2.0, 0.1)}
    plain = make_agent("fpo", seed=0, chunk=2)
    scaled = make_agent("fpo", seed=0, chunk=2, action_scaling=scaling)
    scaled.policy.policy.load_state_dict(plain.policy.state_dict())
    obs, noise = torch.from_numpy(plain.recording(1, 4).obs[0]), 0.1 * torch.randn(4, 1, 2, 2)
    with torch.no_grad():
        actions = [DeployedPolicy(a.policy, plain.normalizer, a.spec)(obs, noise)[1] for a in (plain, scaled)]
    expected = (torch.tensor(scaling["centre"]) + torch.tensor(scaling["width"]) * actions[0]).clamp(-3, 3)
    assert actions[0].abs().max() < 3  # nothing was cut off before it was scaled
    torch.testing.assert_close(actions[1], expected)


def test_it_holds_copies(mlp_agent: Agent):
    deployed = DeployedPolicy(mlp_agent.policy, mlp_agent.normalizer, mlp_agent.spec)
    before = deployed.policy.actor[0].weight.clone()
    original = mlp_agent.policy.actor[0].weight
    with torch.no_grad():
        original.add_(1.0)
        assert torch.equal(deployed.policy.actor[0].weight, before)
        original.sub_(1.0)


def test_replay_of_a_recurrent_policy_forgets_at_starts(gru_agent: Agent):
    deployed = DeployedPolicy(gru_agent.policy, gru_agent.normalizer, gru_agent.spec)
    obs = gru_agent.recording(steps=6, rows=2).obs
    start = np.zeros((6, 2), bool)
    start[0] = start[3, 1] = True
    command, _ = deployed.replay(Recording(obs, start))
    fresh, _ = deployed.replay(Recording(obs[3:], start[:3]))  # both rows start at step 3
    np.testing.assert_allclose(command[3:, 1], fresh[:, 1], atol=1e-7)
    assert np.abs(command[3:, 0] - fresh[:, 0]).max() > 1e-3  # the other row still remembered


class StartsAtOne(nn.Module):
    recurrent = True

    def initial_memory(self, rows: int) -> dict[str, Any]:
        return {"h": torch.ones(rows, 2)}


def test_a_memory_that_does_not_start_at_zero_is_refused(mlp_agent: Agent):
    with pytest.raises(ValueError, match="does not start at zero"):
        DeployedPolicy(StartsAtOne(), mlp_agent.normalizer, mlp_agent.spec)  # type: ignore[arg-type]
