"""Schedules against brute force, reuse counted block by block, and the action's error measured."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from policies.generative.caching import CachedDenoiser, best_steps, bubbled, calibrate, measure_changes, missed
from policies.generative.process import denoise, predictor

from .models import observations, small


def policy_and_inputs(rows: int = 64):
    policy = small("ncdpo", network="transformer", diffusion={"train_steps": 10, "prediction": "x0", "eta": 0.0})
    cond = policy.condition(observations(rows, torch.float64))
    return policy, policy.draw_noise(cond), cond


def act(policy, network, noise: Tensor, cond: Tensor) -> Tensor:
    with torch.no_grad():
        return denoise(policy.process, predictor(policy.process, network, cond), noise)[-1]


@pytest.mark.parametrize("budget", [1, 2, 3, 6])
def test_the_chosen_steps_miss_least_of_all_choices(budget: int) -> None:
    changes = torch.rand(6, 6).fill_diagonal_(0.0)
    chosen = best_steps(changes, budget)
    choices = [(0, *rest) for rest in combinations(range(1, 6), budget - 1)]
    assert missed(changes, chosen) == pytest.approx(min(missed(changes, steps) for steps in choices))
    assert len(chosen) == budget and chosen[0] == 0 and list(chosen) == sorted(chosen)


def test_what_is_missed_by_hand() -> None:
    """Computed at 0 and 2 of 4: step 1 has changed by 1 since 0, step 3 by 4 since 2."""
    changes = torch.tensor([[0.0, 1, 2, 3], [1, 0, 9, 9], [2, 9, 0, 4], [3, 9, 4, 0]])
    assert missed(changes, (0, 2)) == 5.0


def test_the_steps_follow_the_changes() -> None:
    """An update that jumps between steps 3 and 4 and is constant otherwise is computed at 0 and 4."""
    value = torch.tensor([0.0, 0, 0, 0, 1, 1])
    assert best_steps((value[:, None] - value).abs(), 2) == (0, 4)


def test_blocks_that_miss_most_take_the_steps_of_later_feed_forward_blocks() -> None:
    schedule = [(0, 5), (0, 2), (0, 3), (0, 4)]
    united = bubbled(schedule, errors=[3.0, 0.1, 2.0, 0.2], feed_forward=[False, True, False, True], count=1)
    assert united == [(0, 2, 4, 5), (0, 2), (0, 3), (0, 4)]
    assert bubbled(schedule, [3.0, 0.1, 2.0, 0.2], [False, True, False, True], 0) == schedule


def test_changes_are_zero_from_a_step_to_itself_and_relative() -> None:
    policy, noise, cond = policy_and_inputs()
    changes = measure_changes(policy.process, policy.network, noise, cond)
    assert changes.shape == (4, 10, 10)
    assert changes.diagonal(dim1=1, dim2=2).abs().max() < 1e-6
    assert changes.max() > 0.01


def test_with_every_step_computed_the_action_is_the_same_exactly() -> None:
    policy, noise, cond = policy_and_inputs()
    cached = calibrate(policy.process, policy.network, noise, cond, budget=10)
    assert cached.share == 1.0
    assert torch.equal(act(policy, cached, noise, cond), act(policy, policy.network, noise, cond))


def test_blocks_are_computed_at_their_steps_alone_decision_after_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, noise, cond = policy_and_inputs()
    schedule = [(0,), (0, 5), (0, 1, 2), (0, 9)]
    cached = CachedDenoiser(policy.network, schedule, 10)
    calls = [0, 0, 0, 0]
    for n, block in enumerate(policy.network.blocks):
        block.register_forward_pre_hook(lambda *_, n=n: calls.__setitem__(n, calls[n] + 1))
    first = act(policy, cached, noise, cond)
    assert calls == [1, 2, 3, 2] and cached.share == 8 / 40
    assert torch.equal(act(policy, cached, noise, cond), first)


def test_the_actions_error_falls_with_the_budget_and_is_small_at_half() -> None:
    """Measured on observations and noise that the calibration has not seen."""
    policy, noise, cond = policy_and_inputs()
    new_cond = policy.condition(observations(64, torch.float64))
    new_noise = policy.draw_noise(new_cond)
    truth = act(policy, policy.network, new_noise, new_cond)
    errors = []
    for budget in (1, 5, 9):
        cached = calibrate(policy.process, policy.network, noise, cond, budget)
        assert cached.share < 1
        errors.append(((act(policy, cached, new_noise, new_cond) - truth).norm() / truth.norm()).item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.1


def test_a_cached_network_takes_the_networks_place() -> None:
    policy, noise, cond = policy_and_inputs()
    obs = observations(3, torch.float64)
    before = policy.act(obs, deterministic=True).action
    policy.network = calibrate(policy.process, policy.network, noise, cond, budget=10)
    assert torch.equal(policy.act(obs, deterministic=True).action, before)


def test_mistakes_name_what_would_be_right() -> None:
    policy, noise, cond = policy_and_inputs(2)
    with pytest.raises(ValueError, match=r"caching needs policy\.network=transformer, not MLPDenoiser"):
        calibrate(policy.process, small("ncdpo").network, noise, cond, 2)
    for budget in (0, 11):
        with pytest.raises(ValueError, match=rf"budget={budget}: must lie in \[1, 10\]"):
            calibrate(policy.process, policy.network, noise, cond, budget)
