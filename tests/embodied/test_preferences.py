"""Preferences against numbers worked by hand, and gradients against those of the plain loss."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import policies
from embodied.ppo_config import PPOConfig
from embodied.preferences import DPO, preference_loss, preference_pairs
from embodied.rollout import Carry, Rollout, collect, whole_rows
from policies.gru import GRUConfig, GRUPolicy
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import spec_of
from tests.policies.vla.squares import Squares

from .groups import Line

CONFIG = PPOConfig(
    loss="dpo",
    schedule="constant",
    learning_rate=1e-2,
    num_epochs=1,
    num_minibatches=1,
    group_size=4,
    max_grad_norm=1e9,
)


def test_the_loss_by_hand() -> None:
    # beta 0.5: margins 2 and -4 become 1 and -2; -log sigmoid(x) = log(1 + exp(-x)).
    found = preference_loss(torch.tensor([3.0, -1.0]), torch.tensor([1.0, 3.0]), beta=0.5)
    assert found.tolist() == pytest.approx([math.log1p(math.exp(-1.0)), math.log1p(math.exp(2.0))])
    assert preference_loss(torch.zeros(1), torch.zeros(1), 0.1).item() == pytest.approx(math.log(2))


def test_pairs_stay_in_their_group_and_use_every_row_of_mixed_ones() -> None:
    success = torch.tensor([1, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0]).bool()
    pairs = preference_pairs(success, 4)
    assert pairs.tolist() == [[0, 1], [0, 2], [0, 3], [9, 8], [11, 10]]
    assert preference_pairs(success[4:8], 4).shape == (0, 2)


def rolled(recurrent: bool = False, horizon: int = 4) -> tuple[MLPPolicy | GRUPolicy, Rollout]:
    """Four steps of two groups of four; rows 0, 1 and 6 succeed."""
    env = Line(8, group=4, horizon=horizon)
    policy = GRUPolicy(env.spec, GRUConfig(memory_size=4)) if recurrent else MLPPolicy(env.spec, MLPConfig(hidden=(8,)))
    rollout = Rollout(4, 8)
    collect(env, policy, rollout, Carry.start(env, policy, env.reset(seed=1)), values=False)
    rollout.success = torch.zeros(4, 8)
    rollout.success[rollout.done.long().argmax(0)[[0, 1, 6]], [0, 1, 6]] = 1.0
    return policy, rollout


def by_definition(policy: MLPPolicy, reference: MLPPolicy, rollout: Rollout, beta: float, steps: int) -> Tensor:
    """The loss, written once more: sums over the first ``steps`` decisions of each row."""

    def episode(of: MLPPolicy, row: int) -> Tensor:
        obs = {name: x[:steps, row] for name, x in rollout.obs.items()}
        return of.evaluate_actions(obs, rollout.action[:steps, row], {}).log_prob.sum()

    def ratio(row: int) -> Tensor:
        return episode(policy, row) - episode(reference, row).detach()

    pairs = [(0, 2), (1, 3), (6, 4), (6, 5), (6, 7)]
    margins = torch.stack([ratio(good) - ratio(bad) for good, bad in pairs])
    return -torch.log(torch.sigmoid(beta * margins)).mean()


@pytest.mark.parametrize("horizon", [4, 2])
@pytest.mark.parametrize("micro_batch", [None, 1, 7])
def test_gradients_are_those_of_the_loss_by_definition(horizon: int, micro_batch: int | None) -> None:
    policy, rollout = rolled(horizon=horizon)
    assert isinstance(policy, MLPPolicy)
    reference = copy.deepcopy(policy)
    for parameter in policy.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    learner = DPO(policy, PPOConfig(**vars(CONFIG) | {"beta": 0.7, "micro_batch": micro_batch}))
    learner.reference = reference
    expected = by_definition(policy, reference, rollout, 0.7, horizon)
    gradients = torch.autograd.grad(expected, learner.parameters)
    figures = learner.update(rollout)
    assert figures["loss/preference"] == pytest.approx(expected.item(), rel=1e-5)
    assert figures["pairs"] == 5.0 and figures["groups/used"] == 1.0
    for parameter, gradient in zip(learner.parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_first_update_starts_at_the_reference_and_goes_towards_what_succeeded(recurrent: bool) -> None:
    policy, rollout = rolled(recurrent)
    learner = DPO(policy, CONFIG)
    figures = learner.update(rollout)
    assert figures["loss/preference"] == pytest.approx(math.log(2), abs=1e-6)
    assert figures["kl"] == pytest.approx(0.0, abs=1e-9) and figures["preference/margin"] == pytest.approx(0, abs=1e-5)
    further = learner.update(rollout)
    assert further["loss/preference"] < figures["loss/preference"] and further["preference/margin"] > 0


@pytest.mark.parametrize(
    "config",
    [
        {"kind": "compact_vla", "bins": 3, "likelihood": "token"},
        {"kind": "compact_vla", "bins": 3, "decoding": "autoregressive"},
        {"kind": "reinflow", "encoder": "vla", "mlp": {"hidden": [8]}, "flow": {"steps": 2}},
        {"kind": "ncdpo", "mlp": {"hidden": [8]}, "diffusion": {"train_steps": 2}},
    ],
    ids=lambda config: f"{config['kind']}-{config.get('decoding', '')}",
)
def test_any_policy_learns_by_its_own_likelihood(config: dict[str, Any]) -> None:
    env: Any = Squares(8)
    trunk = (
        {"trunk": {"width": 8, "blocks": 1, "heads": 1}} if "compact" in config["kind"] or "encoder" in config else {}
    )
    policy: Any = policies.make(config | trunk, env.spec)
    rollout = Rollout(1, 8)
    collect(env, policy, rollout, Carry.start(env, policy, env.reset(seed=0)), values=False)
    rollout.success[0, [1, 4, 6]] = 1.0
    rate = 1e-7 if config["kind"] == "ncdpo" else 1e-3  # an untrained chain turns small steps into large ones
    learner = DPO(policy, PPOConfig(**vars(CONFIG) | {"learning_rate": rate, "micro_batch": 3}))
    figures = [learner.update(rollout) for _ in range(3)]
    assert figures[0]["loss/preference"] == pytest.approx(math.log(2), abs=1e-5)
    assert figures[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert figures[2]["loss/preference"] < figures[0]["loss/preference"]


def test_the_reference_and_the_critic_stay_what_they_were() -> None:
    policy, rollout = rolled()
    before = copy.deepcopy(policy.state_dict())
    learner = DPO(policy, CONFIG)
    for _ in range(3):
        learner.update(rollout)
    assert all(torch.equal(x, before[name]) for name, x in learner.reference.state_dict().items())  # type: ignore
    moved = {name.split(".")[0] for name, x in policy.state_dict().items() if not torch.equal(x, before[name])}
    assert moved and "critic" not in moved


def test_without_pairs_nothing_is_learnt_and_that_is_counted() -> None:
    policy, rollout = rolled()
    rollout.success.zero_()
    before = copy.deepcopy(policy.state_dict())
    learner = DPO(policy, CONFIG)
    figures = learner.update(rollout)
    assert figures["updates_skipped"] == 1.0 and figures["pairs"] == figures["groups/used"] == 0.0
    assert "loss/preference" not in figures and "reward/std" in figures
    assert all(torch.equal(x, before[name]) for name, x in policy.state_dict().items())


def test_state_survives_a_round_trip() -> None:
    policy, rollout = rolled()
    first = DPO(policy, CONFIG)
    first.update(rollout)
    twin = copy.deepcopy(policy)
    second = DPO(twin, CONFIG)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.manual_seed(5)
    first.update(rollout)
    torch.manual_seed(5)
    second.update(rollout)
    assert all(torch.equal(x, twin.state_dict()[name]) for name, x in policy.state_dict().items())
    assert (second.updates, second.skipped) == (2, 0)


def test_the_rate_falls_linearly() -> None:
    policy, rollout = rolled()
    learner = DPO(policy, PPOConfig(**vars(CONFIG) | {"schedule": "linear"}))
    assert learner.update(rollout, progress=0.75)["learning_rate"] == pytest.approx(2.5e-3)


def test_numbers_that_are_not_finite_never_reach_the_parameters() -> None:
    policy, rollout = rolled()
    rollout.obs["policy"][2, 0] = float("nan")
    before = copy.deepcopy(policy.state_dict())
    with pytest.raises(FloatingPointError, match="not finite"):
        DPO(policy, CONFIG).update(rollout)
    assert all(torch.equal(x, before[name]) for name, x in policy.state_dict().items())


def test_a_memory_needs_whole_sequences() -> None:
    policy = GRUPolicy(spec_of("x", 1, 1, 4), GRUConfig(memory_size=4))
    with pytest.raises(ValueError, match="a policy with memory learns from whole sequences"):
        DPO(policy, PPOConfig(**vars(CONFIG) | {"micro_batch": 4}))


def test_rows_of_a_batch_are_the_pairs_in_order() -> None:
    _, rollout = rolled()
    rollout.advantage = rollout.target = torch.zeros(4, 8)
    batch = whole_rows(rollout, torch.tensor([0, 2]), recurrent=False)
    assert torch.equal(batch.action.view(4, 2), rollout.action[:, [0, 2]].view(4, 2))
