"""The auxiliary task: which elements it asks for, its loss by hand, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Carry, Rollout
from embodied.transfer import columns, weights
from embodied.types import ObsGroup, ObsTerm, StepResult
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


def test_a_clone_that_is_fine_tuned_keeps_what_it_had_learnt_to_answer() -> None:
    clone = small("parallel", privileged_weight=1.0)
    policy = small("parallel", privileged_rl_weight=1.0, critic="separate")
    policy.load_pretrained(clone.state_dict())
    torch.testing.assert_close(policy.privileged.state_dict(), clone.privileged.state_dict())
    renamed = ObsGroup.of(ObsTerm("z", 7))
    moved = weights(
        clone.state_dict(), clone, columns(seeing(), seeing(critic=ObsGroup.of(ObsTerm("y", 7), *renamed.terms)))
    )
    assert not any(name.startswith("privileged.") for name in moved)
    assert weights(clone.state_dict(), clone, {}).keys() == clone.state_dict().keys()
    other = small("parallel", spec=seeing(critic=ObsGroup.of(ObsTerm("y", 9))), privileged_rl_weight=1.0)
    before = other.privileged.out.weight.clone()
    other.load_pretrained(clone.state_dict())  # another task tells other things
    assert torch.equal(other.privileged.out.weight, before)


def test_reinforcement_learning_teaches_it_where_that_is_asked_for() -> None:
    torch.manual_seed(0)
    policy, obs = small("parallel", privileged_rl_weight=3.0), observations(4)
    action = policy.act(obs).action
    told = policy.evaluate_actions(obs, action, {})
    asked = policy.privileged.loss(obs, policy.trunk, policy.trunk.encode(obs))
    torch.testing.assert_close(told.auxiliary, 3.0 * asked)
    told.auxiliary.mean().backward()
    assert policy.trunk.vision.project.weight.grad.abs().max() > 0  # the eye learns, not only who answers
    own = {id(p) for p in policy.privileged.parameters()}
    assert own <= {id(p) for p in policy.critic_parameters()}  # no action depends on it
    assert not own & {id(p) for p in policy.actor_parameters()}
    assert small("parallel", privileged_weight=3.0).evaluate_actions(obs, action, {}).auxiliary is None


def test_ppo_lowers_it_where_nothing_else_is_to_be_learnt() -> None:
    torch.manual_seed(0)
    policy = small("parallel", privileged_rl_weight=1.0, critic="separate")
    config = PPOConfig(num_steps=2, num_epochs=20, schedule="constant", learning_rate=3e-3, entropy_coef=0.0)
    ppo, rollout = PPO(policy, config), judged(policy, rows=8, steps=2)
    first = ppo.update(rollout)["loss/auxiliary"]
    assert ppo.update(rollout)["loss/auxiliary"] < 0.7 * first
    plain = small("parallel", privileged_weight=1.0, critic="separate")
    assert "loss/auxiliary" not in PPO(plain, config).update(judged(plain, rows=8, steps=2))


def judged(policy: Any, rows: int, steps: int) -> Rollout:
    """Random scenes, nothing in which is better than anything else."""
    rollout, never = Rollout(steps, rows), torch.zeros(rows, dtype=torch.bool)
    for step in range(steps):
        obs = observations(rows)
        with torch.no_grad():
            rollout.store_decision(step, obs, policy.act(obs), Carry(obs, {}, never))
        rollout.store_outcome(step, StepResult(obs, torch.zeros(rows), never, never, obs, {}))
    return rollout


def test_without_privileged_measurements_there_is_none() -> None:
    assert small("parallel").privileged is None
    blind = seeing(critic=ObsGroup.of(ObsTerm("x", 5)))
    assert small("parallel", spec=blind, privileged_weight=1.0).privileged is None
    policy, obs = small("parallel", privileged_weight=1.0), observations(2)
    del obs["critic"]
    later = small("parallel", privileged_rl_weight=1.0)
    assert later.imitation_loss(obs, torch.zeros(2, *CHUNK)).shape == (2,)  # cloning asks for nothing
    with pytest.raises(ValueError, match="no observation group 'critic' to learn from; set it to 0"):
        policy.imitation_loss(obs, torch.zeros(2, *CHUNK))
