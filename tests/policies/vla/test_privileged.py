"""The auxiliary task of imitation: which elements it asks for, its loss by hand, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from embodied.types import ObsGroup, ObsTerm
from policies.vla.privileged import PrivilegedHead, hidden_elements

from .models import CHUNK, observations, seeing, small


def test_it_asks_for_what_the_policy_does_not_see() -> None:
    spec = seeing(critic=ObsGroup.of(ObsTerm("a", 2), ObsTerm("x", 5), ObsTerm("b", 3)))
    assert hidden_elements(spec).tolist() == [0, 1, 7, 8, 9]
    assert hidden_elements(seeing(critic=ObsGroup.of(ObsTerm("x", 5)))).tolist() == []


def test_its_loss_is_hubers_mean_over_the_elements() -> None:
    policy, obs = small("parallel", privileged_weight=2.0), observations(2)
    head = policy.privileged
    assert isinstance(head, PrivilegedHead)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.zero_()
    obs["critic"] = torch.tensor([[0.01, -0.02, 0.5, 0, 0, 0, 0], [0.0] * 7])
    # Below 0.02: x^2 / 0.04; above: x - 0.01.
    expected = torch.tensor([(0.0025 + 0.01 + 0.49) / 7, 0.0])
    torch.testing.assert_close(head.loss(obs, policy.trunk, policy.trunk.encode(obs)), expected)
    action, plain = torch.zeros(2, *CHUNK), small("parallel")
    plain.load_state_dict({k: x for k, x in policy.state_dict().items() if not k.startswith("privileged.")})
    loss = policy.imitation_loss(obs, action) - plain.imitation_loss(obs, action)
    torch.testing.assert_close(loss, 2 * expected)


def test_it_teaches_the_trunk_and_reinforcement_learning_leaves_it_alone() -> None:
    policy, obs = small("parallel", privileged_weight=1.0), observations(4)
    policy.privileged.loss(obs, policy.trunk, policy.trunk.encode(obs)).mean().backward()
    assert policy.trunk.vision.project.weight.grad.abs().max() > 0
    own = {id(p) for p in policy.privileged.parameters()}
    assert not own & {id(p) for p in [*policy.actor_parameters(), *policy.critic_parameters()]}
    small("parallel").load_pretrained(policy.state_dict())  # it is left behind


def test_without_privileged_measurements_there_is_none() -> None:
    assert small("parallel").privileged is None
    blind = seeing(critic=ObsGroup.of(ObsTerm("x", 5)))
    assert small("parallel", spec=blind, privileged_weight=1.0).privileged is None
    policy, obs = small("parallel", privileged_weight=1.0), observations(2)
    del obs["critic"]
    with pytest.raises(ValueError, match="no observation group 'critic' to learn from; set it to 0"):
        policy.imitation_loss(obs, torch.zeros(2, *CHUNK))
