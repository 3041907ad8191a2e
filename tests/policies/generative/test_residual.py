"""Plans are followed to their end, the residual corrects them, and the base never learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

import policies
from embodied.types import TaskSpec

from .models import SMALL, SPEC, observations, small

PLAN = {"base_chunk": 6, "process": "flow", "scale": 0.2}
"""Three decisions of two actions."""


def test_a_plan_is_followed_to_its_end_and_then_made_anew() -> None:
    policy = small("residual", **PLAN)
    memory, plans, bases = policy.initial_memory(4), [], []
    for _ in range(4):
        decision = policy.act(observations(4, torch.float64), memory)
        memory = decision.memory
        plans.append(memory["plan"])
        bases.append(decision.trace["base"])
    assert torch.equal(plans[0], plans[1]) and torch.equal(plans[1], plans[2])
    assert not torch.equal(plans[2], plans[3])
    assert torch.equal(torch.cat(bases[:3], 1), plans[0])
    assert torch.equal(bases[3], plans[3][:, :2])


def test_rows_plan_when_their_own_episode_starts() -> None:
    policy = small("residual", **PLAN)
    obs = observations(4, torch.float64)
    before = policy.act(obs, policy.initial_memory(4)).memory
    fresh = policy.initial_memory(4)
    starts = torch.tensor([True, False, False, True])
    mixed = {"plan": before["plan"].clone(), "used": torch.where(starts, fresh["used"], before["used"])}
    after = policy.act(obs, mixed).memory
    changed = (after["plan"] != before["plan"]).flatten(1).any(1)
    assert changed.tolist() == starts.tolist()
    assert after["used"].tolist() == [1, 2, 2, 1]


def test_the_likelihood_is_a_gaussian_around_base_and_correction() -> None:
    policy = small("residual", **PLAN, init_std=0.3)
    obs = observations(4, torch.float64)
    decision = policy.act(obs)
    base = decision.trace["base"]
    correction = policy.residual(torch.cat([obs["policy"], base.flatten(1)], -1)).view(4, 2, 3)
    normal = Normal(base + 0.2 * correction, policy.std())
    torch.testing.assert_close(decision.log_prob[:, 0], normal.log_prob(decision.action).sum((1, 2)))
    entropy = policy.evaluate_actions(obs, decision.action, decision.trace).entropy[:, 0]
    torch.testing.assert_close(entropy, normal.entropy().sum((1, 2)))


def test_only_the_residual_learns() -> None:
    policy = small("residual", **PLAN)
    names = {name for name, p in policy.named_parameters() if p.requires_grad and not name.startswith("critic")}
    assert {name.partition(".")[0] for name in names} == {"residual", "std"}
    assert len(list(policy.actor_parameters())) == len(names)


def test_it_starts_as_its_pretrained_base() -> None:
    source = small("reinflow", longer(6))
    policy = policies.make(SMALL | {"kind": "residual", **PLAN}, SPEC).double()  # type: ignore[attr-defined]
    policy.load_pretrained(source.state_dict())
    obs = observations(4, torch.float64)
    expected = source.act(obs, deterministic=True).action
    decision = policy.act(obs, policy.initial_memory(4), deterministic=True)
    torch.testing.assert_close(decision.memory["plan"], expected)
    assert (decision.action - expected[:, :2]).abs().max() < 0.02
    exported = policy.export_forward(obs["policy"], torch.zeros(4, *policy.noise_shape).double())
    torch.testing.assert_close(exported, decision.action)


def longer(chunk: int) -> TaskSpec:
    """The same task with longer decisions."""
    return replace(SPEC, action=replace(SPEC.action, chunk=chunk))


@pytest.mark.parametrize("plan", [1, 3])
def test_a_plan_must_hold_whole_decisions(plan: int) -> None:
    with pytest.raises(ValueError, match=rf"policy\.base_chunk={plan}: must be a multiple of the task's chunk, 2"):
        policies.make(SMALL | {"kind": "residual", "base_chunk": plan}, SPEC)


def test_the_frozen_base_cannot_be_pretrained_here() -> None:
    with pytest.raises(ValueError, match=r"the base of policy\.kind=residual is frozen"):
        small("residual").imitation_loss(observations(2), torch.zeros(2, 2, 3))
