"""The gradient through the whole chain, the heads, and what the noise does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import policies
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from policies.generative.heads import GaussianHead, SoftmaxHead
from policies.mlp import MLPPolicy

from .models import SMALL, SPEC, at_time, observations, small

SETTINGS: dict[str, dict[str, Any]] = {
    "ddpm-x0": {"diffusion": {"train_steps": 5, "prediction": "x0", "clip": None}},
    "ddim-v": {"diffusion": {"train_steps": 6, "steps": 3, "prediction": "v", "eta": 0.5, "clip": None}},
    "one-step": {"diffusion": {"train_steps": 1, "prediction": "x0", "clip": None}},
    "flow": {"process": "flow", "flow": {"steps": 4}},
    "shortcut": {"process": "shortcut", "shortcut": {"steps": 2, "finest": 4}, "network": "unet"},
    "mean-flow": {"process": "mean_flow", "mean_flow": {"steps": 1}, "network": "transformer"},
}


def log_prob(policy: Any, obs: dict[str, Tensor], action: Tensor, trace: dict[str, Tensor]) -> Tensor:
    weights = torch.arange(1.0, len(action) + 1, dtype=torch.float64)
    return (policy.evaluate_actions(obs, action, trace).log_prob[:, 0] * weights).sum()


@pytest.mark.parametrize("head", ["gaussian", "softmax"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_gradient_equals_finite_differences(setting: str, head: str) -> None:
    """Along a random direction of all actor parameters at once."""
    policy = small("ncdpo", head=head, **SETTINGS[setting])
    obs = observations(3, torch.float64)
    with torch.no_grad():
        decision = policy.act(obs)
    parameters = list(policy.actor_parameters())
    direction = [torch.randn_like(p) for p in parameters]
    gradients = torch.autograd.grad(log_prob(policy, obs, decision.action, decision.trace), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))

    def moved(step: float) -> Tensor:
        with torch.no_grad():
            torch._foreach_add_(parameters, direction, alpha=step)
            value = log_prob(policy, obs, decision.action, decision.trace)
            torch._foreach_add_(parameters, direction, alpha=-step)
        return value

    h = 1e-6
    numeric = (moved(h) - moved(-h)) / (2 * h)
    torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-5)


def test_the_gradient_reaches_the_network_through_every_step() -> None:
    """Two steps of x' = x + w / 2 lead to z + w: with one step cut off, the derivative would be 1/2 instead of 1."""
    policy = small("ncdpo", process="flow", flow={"steps": 2}, init_std=1.0)
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    policy.network.forward = lambda x, time, cond: weight.expand_as(x)  # type: ignore[method-assign]
    cond, noise = policy.condition(observations(1)), torch.randn(1, 1, 2, 3, dtype=torch.float64)
    policy.chain(cond, noise)[-1].sum().backward()
    assert weight.grad is not None and weight.grad.item() == pytest.approx(6.0)


@pytest.mark.parametrize("setting", SETTINGS)
def test_recomputing_steps_changes_no_number(setting: str) -> None:
    policy = small("ncdpo", checkpoint_steps=True, **SETTINGS[setting])
    obs = observations(3, torch.float64)
    with torch.no_grad():
        decision = policy.act(obs)
    found = []
    for policy.checkpoint_steps in (False, True):
        loss = log_prob(policy, obs, decision.action, decision.trace)
        found.append([loss, *torch.autograd.grad(loss, list(policy.actor_parameters()))])
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_from_scratch_it_starts_as_the_gaussian_perceptron() -> None:
    """Output near zero, the same deviation: the noise does not show."""
    config = {
        "kind": "ncdpo",
        "near_zero_output": True,
        "init_std": 0.5,
        "diffusion": {"prediction": "x0", "clip": None},
    }
    policy: Any = policies.make(SMALL | config, SPEC)
    obs = observations(500)
    f = policy.chain(policy.condition(obs), policy.draw_noise(policy.condition(obs)))[-1]
    assert f.abs().max() < 0.15
    decision = policy.act(obs)
    gaussian = MLPPolicy(SPEC)
    gaussian.std.log_excess.data.fill_(math.log(0.5))
    gaussian.mean = lambda obs: f  # type: ignore[method-assign]
    policy.draw_noise = lambda cond, deterministic=False: decision.trace["noise"]
    f = policy.chain(policy.condition(obs), decision.trace["noise"])[-1]
    expected = gaussian.evaluate_actions(obs, decision.action, {})
    found = policy.evaluate_actions(obs, decision.action, decision.trace)
    torch.testing.assert_close(found.log_prob, expected.log_prob)
    torch.testing.assert_close(found.entropy, expected.entropy)


def test_the_initial_noise_is_scaled_and_the_rest_is_not() -> None:
    obs = observations(4, torch.float64)
    policy = small("ncdpo", initial_noise_scale=0.5)
    noise = policy.draw_noise(policy.condition(obs))
    assert noise.shape == (4, 4, 2, 3)  # the start, and all of four steps but the last
    chain = policy.chain(policy.condition(obs), noise)
    torch.testing.assert_close(chain[0], 0.5 * noise[:, 0])
    output = at_time(policy.network, chain[0], 1.0, policy.condition(obs))
    mean = policy.process.mean(output, chain[0], 0)
    torch.testing.assert_close(chain[1], mean + policy.process.std[0] * noise[:, 1])


def test_inference_noise_is_zero_or_random() -> None:
    obs = observations(4, torch.float64)
    assert not small("ncdpo").act(obs, deterministic=True).trace["noise"].any()
    policy = small("ncdpo", inference_noise="random", diffusion={"train_steps": 4, "clip": None})
    decision = policy.act(obs, deterministic=True)
    torch.testing.assert_close(decision.action, policy.export_forward(obs["policy"], decision.trace["noise"]))
    assert not torch.equal(decision.action, policy.act(obs, deterministic=True).action)


def test_the_reduction_is_over_the_elements_of_a_chunk() -> None:
    obs = observations(4, torch.float64)
    total, mean = small("ncdpo", logprob_reduction="sum"), small("ncdpo", logprob_reduction="mean")
    mean.load_state_dict(total.state_dict())
    decision = total.act(obs)
    pair = [policy.evaluate_actions(obs, decision.action, decision.trace) for policy in (total, mean)]
    torch.testing.assert_close(pair[0].log_prob, 6 * pair[1].log_prob)
    torch.testing.assert_close(pair[0].entropy, 6 * pair[1].entropy)


def test_the_gaussian_head_equals_torchs_normal() -> None:
    head = GaussianHead((2, 3), 0.5, 0.1, "sum").double()
    f, action = torch.randn(2, 4, 2, 3, dtype=torch.float64).unbind(0)
    normal = torch.distributions.Independent(torch.distributions.Normal(f, head.std()), 2)
    torch.testing.assert_close(head.log_prob(f, action), normal.log_prob(action))
    torch.testing.assert_close(head.entropy(f), normal.entropy())


def test_the_softmax_head_equals_torchs_categorical() -> None:
    head = SoftmaxHead((2, 3), "sum", scale=2.0).double()
    f = torch.randn(4, 2, 3, dtype=torch.float64)
    categorical = torch.distributions.Independent(torch.distributions.Categorical(logits=2 * f), 1)
    action = head.draw(f)
    assert torch.equal(action.sum(-1), torch.ones(4, 2).double()) and set(action.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(head.log_prob(f, action), categorical.log_prob(action.argmax(-1)))
    torch.testing.assert_close(head.entropy(f), categorical.entropy())
    assert torch.equal(head.mode(f).argmax(-1), f.argmax(-1))
    assert head.diagnostics()["logit_scale"] == pytest.approx(2.0)


def test_choices_are_drawn_as_often_as_they_are_likely() -> None:
    head = SoftmaxHead((1, 3), "sum", scale=1.0)
    f = torch.tensor([0.5, 0.3, 0.2]).log().expand(20000, 1, 3)
    assert (head.draw(f).mean((0, 1)) - torch.tensor([0.5, 0.3, 0.2])).abs().max() < 0.015


def test_discrete_decisions_are_one_hot_from_end_to_end() -> None:
    spec = TaskSpec("pick", 0.1, 10, {"policy": ObsGroup.of(ObsTerm("x", 5))}, ActionSpec(("left", "stay", "right")))
    policy = small("ncdpo", spec=spec, head="softmax")
    obs = {"policy": torch.randn(6, 5)}
    for deterministic in (False, True):
        assert torch.equal(policy.act(obs, deterministic=deterministic).action.sum(-1), torch.ones(6, 1).double())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"head": "gauss"}, "policy.head='gauss': did you mean 'gaussian'"),
        ({"initial_noise_scale": -1.0}, "policy.initial_noise_scale=-1.0: must not be negative"),
        ({"diffusion": {"step": 3}}, "unknown key policy.diffusion.step; did you mean 'steps'"),
        ({"network": "resnet"}, "policy.network='resnet': .*valid: mlp, transformer, unet"),
        ({"process": "flows"}, "policy.process='flows': did you mean 'flow'"),
        ({"inference_noise": "none"}, "policy.inference_noise='none': .*valid: random, zero"),
        ({"logprob_reduction": "avg"}, "policy.logprob_reduction='avg': .*valid: mean, sum"),
        ({"init_std": 0.0}, "need 0 <= min_std < init_std"),
    ],
)
def test_mistakes_name_what_would_be_right(more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policies.make(SMALL | {"kind": "ncdpo"} | more, SPEC)
