"""The update against what it promises."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Carry, Rollout, collect
from policies.gru import GRUConfig, GRUPolicy
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import Endless, PointMass, Recall

from .groups import Line

SMALL = MLPConfig(hidden=(16,))


def rollout_of(env: PointMass | Recall | Endless | Line, policy: MLPPolicy | GRUPolicy, steps: int = 12) -> Rollout:
    rollout = Rollout(steps, env.num_rows)
    collect(env, policy, rollout, Carry.start(env, policy, env.reset(seed=1)))
    return rollout


def parameters(policy: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def test_inactive_rows_change_nothing_at_all() -> None:
    config = PPOConfig(num_minibatches=1, num_epochs=2, normalize_reward=True, normalize_value=True)
    results = []
    for opponents in (0, 4):
        torch.manual_seed(0)
        env = PointMass(8, horizon=5)
        policy = MLPPolicy(env.spec, SMALL)
        rollout = rollout_of(env, policy)
        if opponents:
            rollout = padded(rollout, opponents)
        figures = PPO(policy, config).update(rollout)
        results.append((parameters(policy), figures))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-6)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-3, abs=1e-6)


def padded(rollout: Rollout, extra: int) -> Rollout:
    """The rollout with further rows that are inactive and full of nonsense."""
    wide = Rollout(rollout.num_steps, rollout.num_rows + extra)
    pad = lambda x, value: torch.cat([x, torch.full_like(x[:, :extra], value)], 1)  # noqa: E731
    wide.obs = {name: pad(x, 50.0) for name, x in rollout.obs.items()}
    for name, value in {"action": 9.0, "log_prob": -3.0, "value": 77.0, "reward": 1e4, "bootstrap": 1e3}.items():
        setattr(wide, name, pad(getattr(rollout, name), value))
    for name in ("terminated", "truncated", "active"):
        setattr(wide, name, pad(getattr(rollout, name), False))
    wide.last_value = torch.cat([rollout.last_value, torch.full((extra,), 5.0)])
    wide.all_active = False
    return wide


@pytest.mark.parametrize("recurrent", [False, True])
def test_the_first_minibatch_sees_a_ratio_of_one(recurrent: bool) -> None:
    env = Recall(8, horizon=5)
    policy = GRUPolicy(env.spec, GRUConfig(memory_size=8)) if recurrent else MLPPolicy(env.spec, SMALL)
    figures = PPO(policy, PPOConfig(num_epochs=1, num_minibatches=1)).update(rollout_of(env, policy))
    assert abs(figures["kl"]) < 1e-9
    assert figures["clip_fraction"] == 0.0


def test_adaptation_waits_for_the_first_step_and_then_follows_the_kl() -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    still = PPO(policy, PPOConfig(num_epochs=1, num_minibatches=1))
    still.update(rollout_of(env, policy))
    assert still.learning_rate == 1e-3
    wary = PPO(policy, PPOConfig(num_epochs=4, num_minibatches=1, desired_kl=1e-12))
    wary.update(rollout_of(env, policy))
    assert wary.learning_rate == pytest.approx(1e-3 / 1.5**3)
    assert wary.optimizer.rates == [wary.learning_rate] * 2


def test_the_critic_keeps_its_own_proportion_of_the_learning_rate() -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    ppo = PPO(policy, PPOConfig(schedule="linear", learning_rate=1e-4, critic_learning_rate=3e-3))
    ppo.update(rollout_of(env, policy), progress=0.5)
    assert ppo.optimizer.rates == pytest.approx([5e-5, 1.5e-3])


def test_the_update_stops_at_the_target_kl() -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    config = PPOConfig(num_epochs=50, learning_rate=1e-2, schedule="constant", target_kl=0.02)
    figures = PPO(policy, config).update(rollout_of(env, policy))
    assert 1 < figures["minibatches"] < 200
    assert figures["kl"] < 0.02


def test_likelihoods_that_disagree_are_reported_and_not_learnt_from() -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    rollout = rollout_of(env, policy)
    rollout.log_prob += 1.0
    with pytest.raises(FloatingPointError, match="act and evaluate disagree"):
        PPO(policy, PPOConfig(target_kl=0.01)).update(rollout)


@pytest.mark.parametrize("spoilt", ["reward", "log_prob"])
def test_numbers_that_are_not_finite_never_reach_the_parameters(spoilt: str) -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    rollout = rollout_of(env, policy)
    getattr(rollout, spoilt)[3, 2] = float("nan")
    before = parameters(policy)
    with pytest.raises(FloatingPointError, match="not finite"):
        PPO(policy, PPOConfig(num_minibatches=1)).update(rollout)
    assert torch.equal(parameters(policy), before)


def test_actor_and_critic_are_clipped_apart() -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    rollout = rollout_of(env, policy)
    ppo = PPO(policy, PPOConfig(num_epochs=1, num_minibatches=1, max_grad_norm=1e-3))
    figures = ppo.update(rollout)
    assert figures["grad_norm/critic"] > 1e-3 < figures["grad_norm/actor"]
    for group in (ppo.actor, ppo.critic):
        norm = torch.stack([p.grad.norm() for p in group]).norm()  # type: ignore[union-attr]
        assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_a_truncated_endless_task_is_worth_its_infinite_sum() -> None:
    # Reward 1 for ever, cut every 4 steps: 1 / (1 - 0.8) = 5. Bootstrapping from 0 would give at most 2.95.
    env = Endless(32, horizon=4)
    policy = MLPPolicy(env.spec, MLPConfig(hidden=(16,)))
    ppo = PPO(policy, PPOConfig(gamma=0.8, schedule="constant", learning_rate=1e-2))
    rollout, carry = Rollout(8, 32), Carry.start(env, policy, env.reset(seed=0))
    for _ in range(60):
        carry = collect(env, policy, rollout, carry)
        ppo.update(rollout)
    assert rollout.value.mean().item() == pytest.approx(5.0, abs=0.15)


def test_explained_variance_is_one_for_a_perfect_critic_and_zero_for_a_constant() -> None:
    env = PointMass(8)
    policy = MLPPolicy(env.spec, SMALL)
    rollout = rollout_of(env, policy)
    config = PPOConfig(lam=1.0, gamma=1.0)
    _, target = PPO(policy, config)._gae(rollout, rollout.reward)
    rollout.value = target.clone()
    assert PPO(policy, config).prepare(rollout)["explained_variance"] == pytest.approx(1.0, abs=1e-4)
    rollout.value = torch.zeros_like(target)
    assert PPO(policy, config).prepare(rollout)["explained_variance"] == pytest.approx(0.0, abs=1e-4)


def test_group_relative_learns_from_first_episodes_without_a_critic() -> None:
    env = PointMass(16, horizon=6)
    policy = MLPPolicy(env.spec, SMALL)
    critic = [p.detach().clone() for p in policy.critic.parameters()]
    rollout = rollout_of(env, policy)
    figures = PPO(policy, PPOConfig(advantage="group_relative", group_size=4)).update(rollout)
    assert figures["loss/value"] == 0.0
    assert rollout.mask is not None and rollout.mask.sum() == 16 * 6
    assert all(torch.equal(a, b) for a, b in zip(critic, policy.critic.parameters(), strict=True))


def test_groups_of_equal_returns_have_no_part_in_the_loss() -> None:
    env = Line(32, group=8)
    policy = MLPPolicy(env.spec, SMALL)
    config = PPOConfig(advantage="group_relative", group_size=8, entropy_coef=0.1, num_minibatches=1, num_epochs=1)
    rollout = rollout_of(env, policy, steps=4)
    rollout.reward.zero_()
    rollout.reward[3, :4] = rollout.reward[3, 17] = 1.0  # groups 0 and 2 differ
    ppo = PPO(copy.deepcopy(policy), config)
    figures = ppo.update(rollout)
    assert figures["groups/used"] == 0.5 and figures["updates_skipped"] == 0.0
    assert rollout.mask is not None
    assert rollout.mask[0].view(4, 8).any(1).tolist() == [True, False, True, False] and rollout.mask.sum() == 64
    rollout.obs["policy"][:, 8:16] += 100.0  # what a group without a signal saw changes nothing, not even the entropy
    again = PPO(copy.deepcopy(policy), config)
    again.update(rollout)
    torch.testing.assert_close(parameters(ppo.policy), parameters(again.policy))  # type: ignore[arg-type]


def test_without_any_group_nothing_is_learnt_and_that_is_counted() -> None:
    env = Line(16, group=8)
    policy = MLPPolicy(env.spec, SMALL)
    before = parameters(policy)
    ppo = PPO(policy, PPOConfig(advantage="group_relative", group_size=8))
    rollout = rollout_of(env, policy, steps=4)
    rollout.reward[:] = torch.arange(4.0)[:, None]  # a reward that varies, and yet is the same for all
    for skipped in (1.0, 2.0):
        figures = ppo.update(rollout)
        assert figures["updates_skipped"] == skipped and figures["groups/used"] == figures["minibatches"] == 0.0
        assert figures["reward/std"] > 0 and "loss/policy" not in figures
    assert torch.equal(parameters(policy), before) and ppo.updates == 0
    again = PPO(policy, ppo.config)
    again.load_state_dict(ppo.state_dict())
    assert again.skipped == 2


def test_a_critic_that_is_not_asked_needs_no_warm_up() -> None:
    env = PointMass(4)
    policy = MLPPolicy(env.spec, SMALL)
    assert PPO(policy, PPOConfig(critic_warmup=3)).warming_up
    assert not PPO(policy, PPOConfig(critic_warmup=3, advantage="group_relative")).warming_up


def test_state_survives_a_round_trip() -> None:
    env = PointMass(8)
    policy = MLPPolicy(env.spec, SMALL)
    config = PPOConfig(normalize_reward=True, normalize_value=True)
    first = PPO(policy, config)
    first.update(rollout_of(env, policy))
    second = PPO(policy, config)
    second.load_state_dict(first.state_dict())
    assert second.learning_rate == first.learning_rate
    assert torch.equal(second.value_moments.mean, first.value_moments.mean)  # type: ignore[union-attr]
    assert torch.equal(second.reward_scaler.carried, first.reward_scaler.carried)  # type: ignore[union-attr]
    assert second.optimizer.state_dict()["state"].keys() == first.optimizer.state_dict()["state"].keys()


def test_the_discount_of_a_reward_scaler_survives_in_chunks() -> None:
    env = PointMass(8)
    policy = MLPPolicy(env.spec, SMALL)
    config = PPOConfig(normalize_reward=True, gamma=0.9)
    first, second = (PPO(policy, config, chunk=4) for _ in range(2))
    first.update(rollout_of(env, policy))
    second.load_state_dict(first.state_dict())
    assert second.reward_scaler is not None and second.reward_scaler.gamma == pytest.approx(0.9**4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "dop"}, "did you mean 'dpo'"),
        ({"advantage": "group"}, "valid: gae, group_relative"),
        ({"group_size": 1}, r"algo\.group_size=1: must be a whole number of at least 2"),
        ({"beta": 0.0}, r"algo\.beta=0\.0: must be a number above 0"),
        ({"loss": "dpo"}, r"algo\.loss=dpo: goes with algo\.schedule=constant or linear"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig.from_mapping(settings)


@pytest.mark.parametrize("size", [1, 5, 16, 1000])
def test_gradients_in_pieces_are_those_of_the_minibatch(size: int) -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    rollout = rollout_of(env, policy)
    start, found = copy.deepcopy(policy.state_dict()), []
    for micro_batch in (None, size):
        policy.load_state_dict(start)
        torch.manual_seed(3)
        config = PPOConfig(
            num_epochs=2, num_minibatches=3, learning_rate=1e-2, schedule="constant", micro_batch=micro_batch
        )
        figures = PPO(policy, config).update(rollout)
        found.append((parameters(policy), figures))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=2e-5)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-3, abs=1e-5)


def test_what_pieces_do_not_go_with() -> None:
    with pytest.raises(ValueError, match=r"algo\.micro_batch=8: goes with algo\.symmetry=none only"):
        PPOConfig(micro_batch=8, symmetry="mix")
    env = Recall(4)
    with pytest.raises(ValueError, match="a policy with memory learns from whole sequences"):
        PPO(GRUPolicy(env.spec, GRUConfig(hidden=(8,), memory_size=8)), PPOConfig(micro_batch=8))


def test_only_the_critic_learns_while_it_warms_up() -> None:
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    actor, critic = (
        [p.detach().clone() for p in group] for group in (policy.actor_parameters(), policy.critic_parameters())
    )
    ppo = PPO(policy, PPOConfig(critic_warmup=2, entropy_coef=0.01))
    for _ in range(2):
        assert ppo.warming_up
        figures = ppo.update(rollout_of(env, policy))
        assert figures["kl"] == pytest.approx(0.0, abs=1e-9) and figures["learning_rate"] == 1e-3
        assert figures["grad_norm/actor"] == 0.0 < figures["grad_norm/critic"]
    assert all(torch.equal(a, b) for a, b in zip(actor, policy.actor_parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(critic, policy.critic_parameters(), strict=True))
    again = PPO(policy, ppo.config)
    again.load_state_dict(ppo.state_dict())
    assert not again.warming_up
    assert again.update(rollout_of(env, policy))["kl"] > 0.0


def test_a_critic_that_cannot_be_told_apart_cannot_warm_up() -> None:
    env = PointMass(4)
    policy = MLPPolicy(env.spec, SMALL)
    policy.critic_parameters = lambda: iter(())  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"algo\.critic_warmup: this policy does not tell"):
        PPO(policy, PPOConfig(critic_warmup=1))
