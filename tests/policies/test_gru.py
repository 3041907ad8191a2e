"""The recurrent policy against torch's own cell, and its memory across episodes."""

from __future__ import annotations

import torch

from policies.gru import GRUConfig, GRUPolicy
from tests.helpers.environments import Recall

SPEC = Recall(1).spec


def policy_of() -> GRUPolicy:
    policy = GRUPolicy(SPEC, GRUConfig(memory_size=6, hidden=(8,), critic_hidden=(8,)))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return policy


def test_one_step_equals_torchs_cell() -> None:
    policy = policy_of()
    x, h = torch.randn(5, 2), torch.randn(5, 6)
    torch.testing.assert_close(policy.remember(policy.project(x), h), policy.cell(x, h))


def test_a_sequence_equals_stepping_with_the_memory_cleared_at_starts() -> None:
    policy = policy_of()
    obs = {"policy": torch.randn(4, 3, 2), "critic": torch.randn(4, 3, 2)}
    start = torch.tensor([[True, False, False], [False] * 3, [False, True, False], [False] * 3])
    memory = {"h": torch.randn(3, 6)}
    first = {"memory/h": memory["h"].unsqueeze(0), "episode_start": start}
    actions, log_probs = [], []
    for t in range(4):
        kept = {"h": torch.where(start[t].unsqueeze(-1), 0.0, memory["h"])}
        decision = policy.act({name: x[t] for name, x in obs.items()}, kept)
        assert torch.equal(decision.trace["memory/h"], kept["h"])
        memory = decision.memory
        actions.append(decision.action)
        log_probs.append(decision.log_prob)
    evaluation = policy.evaluate_actions(obs, torch.stack(actions), first)
    torch.testing.assert_close(evaluation.log_prob, torch.stack(log_probs))


def test_the_gradient_reaches_back_to_the_start_of_the_episode_and_not_beyond() -> None:
    policy = policy_of()
    x = torch.randn(4, 1, 2, requires_grad=True)
    start = torch.tensor([[False], [True], [False], [False]])
    trace = {"memory/h": torch.randn(1, 1, 6), "episode_start": start}
    obs = {"policy": x, "critic": torch.zeros(4, 1, 2)}
    policy.evaluate_actions(obs, torch.zeros(4, 1, 1, 1), trace).log_prob[3].sum().backward()
    assert x.grad is not None
    assert [bool(g.any()) for g in x.grad] == [False, True, True, True]


def test_memory_may_be_left_out_at_the_start() -> None:
    policy = policy_of()
    obs = {"policy": torch.randn(2, 2), "critic": torch.zeros(2, 2)}
    with_zeros = policy.act(obs, policy.initial_memory(2), deterministic=True)
    assert torch.equal(policy.act(obs, deterministic=True).action, with_zeros.action)
