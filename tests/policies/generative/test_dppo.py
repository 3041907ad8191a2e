"""Likelihoods of single denoising steps against torch's normal, the schedules by hand, the frozen steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

import policies
from policies.generative.dppo import clip_schedule, denoising_weights

from .models import SMALL, SPEC, at_time, observations, small


def test_the_schedules_by_hand() -> None:
    torch.testing.assert_close(denoising_weights(3, 0.9), torch.tensor([0.81, 0.9, 1.0]))
    rise = math.expm1(1.5) / math.expm1(3.0)
    torch.testing.assert_close(clip_schedule(3, 0.1, 3.0), torch.tensor([0.1, 0.1 + 0.9 * rise, 1.0]))


def test_a_single_step_has_full_weight_and_clip() -> None:
    assert denoising_weights(1, 0.9).tolist() == clip_schedule(1, 0.1, 3.0).tolist() == [1.0]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_log_probabilities_are_those_of_each_step(reduction: str) -> None:
    policy = small("dppo", logprob_reduction=reduction, finetune_steps=3, log_prob_high=9.0, log_prob_low=-99.0)
    obs = observations(5, torch.float64)
    decision = policy.act(obs)
    chain = [*decision.trace["chain"].unbind(1), decision.action]
    assert decision.log_prob.shape == (5, 3) and len(chain) == 4
    now = policy.encoder(obs, torch.float64)
    for i in range(3):
        output = at_time(policy.network, chain[i], (3 - i) / 4, now)
        mean = policy.process.mean(output, chain[i], i + 1)
        density = Normal(mean, max(policy.process.std[i + 1], 0.1)).log_prob(chain[i + 1])
        expected = density.sum((1, 2)) if reduction == "sum" else density.mean((1, 2))
        torch.testing.assert_close(decision.log_prob[:, i], expected)
    entropy = policy.evaluate_actions(obs, decision.action, decision.trace).entropy[0, 2]
    elements = 6 if reduction == "sum" else 1
    torch.testing.assert_close(entropy, elements * Normal(0.0, 0.1).entropy().double())


def test_the_floors_hold_apart_for_drawing_and_judging() -> None:
    policy = small("dppo", min_sampling_std=0.02, min_logprob_std=0.5, logprob_reduction="sum", log_prob_low=-99.0)
    obs = {name: x.expand(4000, -1) for name, x in observations(1, torch.float64).items()}
    decision = policy.act(obs)
    last = decision.trace["chain"][:, -1]
    output = at_time(policy.network, last, 0.25, policy.condition(obs))
    error = decision.action - policy.process.mean(output, last, 3)
    assert error.std().item() == pytest.approx(0.02, rel=0.05)
    assert error.abs().max() <= 0.06 + 1e-12
    torch.testing.assert_close(decision.log_prob[:, -1], Normal(0.0, 0.5).log_prob(error).sum((1, 2)))


def test_densities_beyond_the_limits_are_held_there_without_gradient() -> None:
    policy = small("dppo", log_prob_low=-2.0, log_prob_high=0.5)
    x = torch.tensor([0.0, 0.2, 9.0], dtype=torch.float64, requires_grad=True)
    density = policy.log_density(x, torch.zeros(3), torch.tensor(0.1).double())
    density.sum().backward()
    middle = Normal(0.0, 0.1).log_prob(torch.tensor(0.2)).item()
    assert density.tolist() == pytest.approx([0.5, middle, -2.0])
    assert x.grad is not None and x.grad.tolist() == pytest.approx([0.0, -20.0, 0.0])


def test_early_steps_belong_to_a_frozen_network_that_learning_leaves_alone() -> None:
    policy = small("dppo", finetune_steps=2)
    obs = observations(3, torch.float64)
    cond, noise = policy.condition(obs), policy.draw_noise(policy.condition(obs))
    before = policy.chain(cond, noise)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(1.0)
    after = policy.chain(cond, noise)
    assert all(torch.equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert not torch.equal(before[3], after[3])
    assert not any(p.requires_grad for p in policy.frozen.parameters())


def test_pretrained_weights_go_into_the_learning_and_the_frozen_network() -> None:
    source, target = small("ncdpo"), small("dppo", finetune_steps=2)
    target.load_pretrained(source.state_dict())
    obs = observations(3, torch.float64)
    noise = source.draw_noise(source.condition(obs))
    torch.testing.assert_close(target.export_forward(obs["policy"], noise), source.export_forward(obs["policy"], noise))


def test_every_step_takes_part_where_nothing_is_frozen() -> None:
    policy = small("dppo")
    assert policy.frozen is None and policy.steps == 4 and len(policy.factor_weight) == 4
    assert policy.imitation_loss(observations(3), torch.randn(3, 2, 3).double()).shape == (3,)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"finetune_steps": 5}, "policy.finetune_steps=5: the process has only 4 steps"),
        ({"finetune_steps": 0}, "policy.finetune_steps=0: must be a whole number of at least 1"),
        ({"denoising_discount": 1.1}, "policy.denoising_discount=1.1: must lie in"),
        ({"min_logprob_std": 0.0}, "policy.min_logprob_std=0.0: must be a number above 0"),
    ],
)
def test_mistakes_name_what_would_be_right(more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policies.make(SMALL | {"kind": "dppo"} | more, SPEC)


def test_imitation_with_frozen_steps_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"use policy\.finetune_steps=null"):
        small("dppo", finetune_steps=2).imitation_loss(observations(3), torch.zeros(3, 2, 3))
