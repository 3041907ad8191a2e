"""DSRL as a policy: noise is chosen, the frozen policy acts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import policies
from embodied.types import ActionSpec, ObsGroup, Policy, TaskSpec
from envs.chunking import chunked_spec
from tests.helpers.environments import PointMass

from .base import Compass, bounded, dsrl

SMALL = {"mlp": {"hidden": [8], "time_size": 4}, "critic_hidden": [8]}


def test_latents_are_noise_within_the_bound() -> None:
    """A latent of 0.25 is noise of 0.5 at bound 2, half of the way home."""
    policy, obs = dsrl(bound=2.0), torch.tensor([[0.4, -0.2]])
    torch.testing.assert_close(policy.execute(obs, torch.full((1, 2), 0.25)), -obs.unsqueeze(1))


def test_left_alone_it_does_what_the_frozen_policy_does() -> None:
    latent = dsrl(bound=1.5).undirected(torch.zeros(20_000, 2))
    noise = 1.5 * latent
    assert float(noise.abs().max()) == 1.5
    inside = noise[noise.abs() < 1.5]
    assert len(inside) / noise.numel() == pytest.approx(0.866, abs=0.01)  # of a standard normal distribution
    assert float(inside.std()) == pytest.approx(0.743, abs=0.01)  # of one truncated at 1.5


def test_a_decision_and_its_likelihood() -> None:
    policy, obs = dsrl(), {"policy": torch.randn(5, 2)}
    assert isinstance(policy, Policy)
    decision = policy.act(obs)
    expected = policy.execute(obs["policy"], decision.trace["noise"].tanh())
    assert torch.equal(decision.action, expected) and decision.log_prob.shape == (5, 1)
    again = policy.evaluate_actions(obs, decision.action, decision.trace)
    assert torch.equal(again.log_prob, decision.log_prob) and again.log_prob.requires_grad
    first, second = (policy.act(obs, deterministic=True).action for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, decision.action)


def test_the_value_is_that_of_the_most_likely_noise() -> None:
    policy, obs = dsrl(), torch.randn(3, 2)
    values = torch.cat(policy.critic(obs, policy.choose(obs, True)), -1)
    value = policy.value({"policy": obs})
    torch.testing.assert_close(value, values.amin(-1))
    value.sum().backward()
    assert all(x.grad is None for x in policy.actor_parameters())
    assert any(x.grad is not None for x in policy.critic_parameters())


def test_only_the_actor_and_the_critics_learn() -> None:
    policy = dsrl()
    names = {name.partition(".")[0] for name, x in policy.named_parameters() if x.requires_grad}
    assert names == {"actor", "critic"}


def test_it_is_made_from_its_configuration_and_takes_over_weights() -> None:
    spec = chunked_spec(PointMass(1).spec, 2, 1)
    base = {"kind": "reinflow", "process": "flow", **SMALL}
    pretrained: Any = policies.make(base, spec)
    policy: Any = policies.make({"kind": "dsrl", "base": base, "hidden": [8]}, spec)
    obs, noise = torch.randn(3, 2), torch.rand(3, 4) - 0.5
    policy.start_from(pretrained)
    expected = pretrained.export_forward(obs, 1.5 * noise.view(3, 1, 2, 2))
    torch.testing.assert_close(policy.execute(obs, noise), expected)
    other: Any = policies.make({**base, "mlp": {"hidden": [9], "time_size": 4}}, spec)
    with pytest.raises(ValueError, match="these weights do not fit"):
        policy.start_from(other)


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (Compass(), {"bound": 0.0}, "policy.bound=0.0"),
        (Compass(), {"critics": 0}, "policy.critics=0"),
        (Compass(), {"activation": "sin"}, "policy.activation='sin'"),
        (Compass(chunk=4), {}, r"chunks of shape \(4, 2\), task 'point' takes \(1, 2\): set task.chunk"),
        (Compass(draws=3), {}, "draws 3 noise tensors a decision; .* policy.base.diffusion.eta=0"),
        (torch.nn.Linear(2, 2), {}, "Linear takes no noise and cannot be steered; policies that can: dppo"),
    ],
)
def test_errors(base: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dsrl(base, **options)


def test_images_are_refused() -> None:
    obs = {"policy": ObsGroup(shape=(2,)), "image": ObsGroup(shape=(3, 8, 8), dtype="uint8")}
    spec = TaskSpec("seen", 0.1, 5, obs, ActionSpec(("a", "b")))
    with pytest.raises(ValueError, match="shows images; steering sees the observation group 'policy' alone"):
        dsrl(Compass(), spec)


def test_a_base_without_noise_says_what_can_be_steered() -> None:
    with pytest.raises(ValueError, match="MLPPolicy takes no noise"):
        policies.make({"kind": "dsrl", "base": {"kind": "mlp", "hidden": [4]}}, bounded().spec)
