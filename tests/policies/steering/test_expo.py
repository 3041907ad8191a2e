"""EXPO as a policy: the best of what a frozen policy does and of its edits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import policies
from embodied.types import Policy
from tests.helpers.environments import PointMass

from .base import Compass, bounded, expo


class Nearness(nn.Module):
    """Two critics that know how far an action is from 0.25, one of which is sure of itself."""

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        value = -(action - 0.25).square().sum(-1, keepdim=True)
        return value + 5, value


def test_candidates_are_chunks_and_their_edits_each_with_its_smallest_value() -> None:
    policy = expo(Compass(bias=0.1), candidates=3, edit_scale=0.2)
    obs = 0.1 + 0.2 * torch.rand(4, 2)  # nothing reaches a limit
    latent, value = policy.judge(obs, Nearness())
    assert latent.shape == (4, 6, 2) and value.shape == (4, 6)
    torch.testing.assert_close(value, -(latent - 0.25).square().sum(-1))
    drawn, edited = latent[:, 0::2], latent[:, 1::2]  # side by side
    assert bool(((edited - drawn).abs() <= 0.2 + 1e-6).all()) and bool((edited != drawn).all())
    way = (drawn - 0.1) / (-2 * obs.unsqueeze(1))  # what the noise of each draw said
    torch.testing.assert_close(way[..., 0], way[..., 1])
    assert bool((way.abs() <= 1 + 1e-5).all())


def test_the_best_one_is_executed() -> None:
    policy, obs = expo(candidates=4), torch.rand(5, 2)
    policy.critic = Nearness()  # type: ignore[assignment]
    assert isinstance(policy, Policy)
    torch.manual_seed(7)
    decision = policy.act({"policy": obs})
    torch.manual_seed(7)
    latent, value = policy.judge(obs, Nearness())
    nearest = (latent - 0.25).square().sum(-1).argmin(1)
    assert torch.equal(decision.action.squeeze(1), latent[torch.arange(5), nearest])
    assert torch.equal(decision.value, value.amax(1))
    torch.manual_seed(7)
    assert torch.equal(policy.choose(obs), decision.action.squeeze(1))


def test_most_likely_edits_repeat_for_the_same_chunks() -> None:
    policy, obs = expo(candidates=2), torch.rand(3, 2)
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(policy.judge(obs, Nearness(), deterministic=True)[0])
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_latents_are_scaled_to_the_tasks_limits() -> None:
    policy = expo(spec=bounded(high=3.0).spec)
    obs = torch.tensor([[0.75, -0.75]])
    torch.testing.assert_close(policy.execute(obs, torch.tensor([[0.5, -1.0]])), torch.tensor([[[1.5, -3.0]]]))
    drawn = policy.undirected(obs.repeat(500, 1))
    assert float(drawn.abs().max()) == pytest.approx(0.5)  # -2 * 0.75 of 3


def test_without_limits_those_of_the_demonstrations_count() -> None:
    spec = PointMass(1).spec
    base = {
        "kind": "ncdpo",
        "critic_hidden": [4],
        "mlp": {"hidden": [4], "time_size": 4},
        "action_scaling": {"centre": [1.0, 2.0], "width": [0.5, 4.0]},
    }
    policy: Any = policies.make({"kind": "expo", "base": base, "hidden": [4]}, spec)
    torch.testing.assert_close(policy.execute(torch.zeros(1, 2), torch.ones(1, 2)), torch.tensor([[[1.5, 6.0]]]))
    with pytest.raises(ValueError, match="'point' have no limits"):
        expo(Compass(), dataclasses.replace(spec, symmetry=None))


def test_it_states_no_likelihood() -> None:
    policy, obs = expo(), {"policy": torch.rand(2, 2)}
    decision = policy.act(obs)
    assert bool(decision.log_prob.isnan().all()) and decision.log_prob.shape == (2, 1)
    with pytest.raises(ValueError, match="it learns by `embodied steer`"):
        policy.evaluate_actions(obs, decision.action, decision.trace)


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (Compass(chunk=2), {}, r"chunks of shape \(2, 2\), task 'point' takes \(1, 2\)"),
        (Compass(), {"candidates": 0}, "policy.candidates=0"),
        (Compass(), {"edit_scale": -1.0}, "policy.edit_scale=-1.0"),
    ],
)
def test_errors(base: Compass, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expo(base, **options)
