"""Ratios are differences of losses on the same samples."""

from __future__ import annotations

import pytest
import torch

import policies

from .models import SMALL, SPEC, disturb, observations, small


@pytest.mark.parametrize("process", ["diffusion", "flow", "shortcut", "mean_flow"])
def test_each_factor_is_the_negative_loss_of_one_sample(process: str) -> None:
    policy = small("fpo", process=process, samples=3)
    obs = observations(4, torch.float64)
    decision = policy.act(obs)
    cond, trace = policy.condition(obs), decision.trace
    for i in range(3):
        arguments = decision.action, cond, trace["time"][:, i], trace["noise"][:, i]
        expected = 6 * policy.process.matching_loss(policy.network, *arguments)
        torch.testing.assert_close(-decision.log_prob[:, i], expected)
    torch.testing.assert_close(trace["loss"], -decision.log_prob)


def test_the_ratio_follows_the_change_of_the_loss_up_to_the_limit() -> None:
    policy = small("fpo", samples=4, max_log_ratio=0.1, logprob_reduction="mean")
    obs = observations(50, torch.float64)
    with torch.no_grad():
        decision = policy.act(obs)
    disturb(policy, 0.1)
    cond, trace = policy.condition(obs), decision.trace
    change = trace["loss"] - policy.losses(cond, decision.action, trace["time"], trace["noise"])
    log_ratio = policy.evaluate_actions(obs, decision.action, trace).log_prob - decision.log_prob
    torch.testing.assert_close(log_ratio, change.clamp(-0.1, 0.1))
    assert 0 < (change.abs() > 0.1).double().mean() < 1  # otherwise this shows nothing


def test_raising_the_ratio_brings_the_policy_to_the_action() -> None:
    """The score of an advantage of 1 is plain imitation of what was done."""
    policy = small("fpo", samples=2, logprob_reduction="mean")
    obs = observations(5, torch.float64)
    with torch.no_grad():
        decision = policy.act(obs)
    parameters = list(policy.network.parameters())
    score = policy.evaluate_actions(obs, decision.action, decision.trace).log_prob.sum()
    trace, cond = decision.trace, policy.condition(obs)
    losses = policy.losses(cond, decision.action, trace["time"], trace["noise"]).sum()
    pairs = zip(torch.autograd.grad(score, parameters), torch.autograd.grad(losses, parameters), strict=True)
    for up, down in pairs:
        torch.testing.assert_close(up, -down)


def test_mistakes_name_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"policy\.samples=0: must be a whole number of at least 1"):
        policies.make(SMALL | {"kind": "fpo", "samples": 0}, SPEC)
    with pytest.raises(ValueError, match=r"policy\.samples=1\.5: must be a whole number of at least 1"):
        policies.make(SMALL | {"kind": "fpo", "samples": 1.5}, SPEC)
    with pytest.raises(ValueError, match=r"policy\.max_log_ratio=0: must be a number above 0"):
        policies.make(SMALL | {"kind": "fpo", "max_log_ratio": 0}, SPEC)
