from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sim2real.deployed import DeployedPolicy
from sim2real.recording import Recording

from .toys import Agent


def test_the_command_is_the_scaled_and_clipped_action(mlp_agent: Agent):
    deployed = DeployedPolicy(mlp_agent.policy, mlp_agent.normalizer, mlp_agent.spec)
    obs = torch.from_numpy(mlp_agent.recording().flat().obs[0])
    with torch.no_grad():
        command, action = deployed(obs)
        seen = mlp_agent.normalizer({"policy": obs, "critic": torch.zeros(len(obs), 3)})
        raw = mlp_agent.policy.act(seen, deterministic=True).action[:, 0].numpy()
    assert (np.abs(raw) > 3).any() and (np.abs(raw) < 3).any()  # both sides of the clip are exercised
    clipped = np.clip(raw, -3, 3)
    expected = np.clip(np.array([0.1, -1.5]) + np.array([0.25, 0.5]) * clipped, [-1.0, -2.0], [1.0, -0.5])
    np.testing.assert_allclose(action.numpy(), clipped, atol=1e-6)
    np.testing.assert_allclose(command.numpy(), expected, atol=1e-6)


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
