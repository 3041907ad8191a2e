"""The stochastic steps keep the flow's marginals: exactly computable where everything is Gaussian."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import policies
from policies.generative.flow import FlowConfig, RectifiedFlow
from policies.generative.flow_sde import sde_mean, sde_pull, sde_std

from .models import SMALL, SPEC, GaussianVelocity, at_time, observations, sampled, small


def stepped(x: Tensor, velocity: Tensor, k: int, steps: int, level: float) -> Tensor:
    """The mean of step k."""
    return sde_mean(x, velocity, k / steps, sde_pull(k, steps, level), steps)


def moments(steps: int, level: float, mean: float, std: float) -> tuple[float, float]:
    """Mean and deviation of the samples of K stochastic steps from N(0, 1): each step is affine in x."""
    velocity = GaussianVelocity(mean, std)
    centre, variance = 0.0, 1.0
    for k in range(steps):
        points = torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64)
        t = torch.full((1,), k / steps, dtype=torch.float64)
        offset, above = stepped(points, velocity(points, t, t), k, steps, level).flatten()
        slope = (above - offset).item()
        centre, variance = offset.item() + slope * centre, slope**2 * variance + sde_std(k, steps, level) ** 2
    return centre, variance**0.5


@pytest.mark.parametrize("level", [0.0, 0.3, 0.7])
def test_fine_steps_end_at_the_data_whatever_the_noise(level: float) -> None:
    centre, spread = moments(4000, level, mean=0.8, std=0.5)
    assert centre == pytest.approx(0.8, abs=0.01)
    assert spread == pytest.approx(0.5, rel=0.02)


def test_more_steps_come_closer() -> None:
    errors = [abs(moments(steps, 0.5, 0.8, 0.5)[1] - 0.5) for steps in (8, 64, 512)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_without_noise_it_is_the_flow() -> None:
    velocity = GaussianVelocity(0.8, 0.5)
    noise = torch.randn(6, 1, 2, 3, dtype=torch.float64)
    x = noise[:, 0]
    for k in range(5):
        x = stepped(x, velocity(x, torch.full((1,), k / 5), x), k, 5, 0.0)
        assert sde_std(k, 5, 0.0) == 0
    cond = torch.zeros(6, 1, dtype=torch.float64)
    torch.testing.assert_close(x, sampled(RectifiedFlow(FlowConfig(5)), velocity, noise, cond)[-1])


def test_a_step_by_hand() -> None:
    """K = 4, k = 2: t = 1/2; with a = 1, x = 1, v = 3: drift 3 - (1 - 3/2) = 3.5, deviation sqrt(1/4)."""
    assert stepped(torch.ones(1), torch.full((1,), 3.0), 2, 4, 1.0).item() == pytest.approx(1 + 3.5 / 4)
    assert sde_std(2, 4, 1.0) == pytest.approx(0.5)


def test_the_first_step_takes_the_time_of_the_second() -> None:
    """k = 0 of 4: x = 2, v = 1, a = 1: drift 1 - 2 * 2, deviation sqrt(1 / (1/4) / 4)."""
    assert stepped(torch.full((1,), 2.0), torch.ones(1), 0, 4, 1.0).item() == pytest.approx(2 - 3 / 4)
    assert sde_std(0, 4, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_likelihood_is_that_of_the_whole_chain(steps: int) -> None:
    policy = small("flow_sde", flow={"steps": steps}, logprob_reduction="sum", noise_level=0.4)
    obs = observations(5, torch.float64)
    decision = policy.act(obs)
    cond, chain = policy.condition(obs), [*decision.trace["chain"].unbind(1), decision.action]
    total = torch.zeros(5).double()
    for k in range(steps):
        mean = stepped(chain[k], at_time(policy.network, chain[k], k / steps, cond), k, steps, 0.4)
        total += Normal(mean, sde_std(k, steps, 0.4)).log_prob(chain[k + 1]).sum((1, 2))
    torch.testing.assert_close(decision.log_prob, total.unsqueeze(-1))


# One random step ------------------------------------------------------------------------------------------------------

PROCESSES = ("flow", "shortcut", "mean_flow")
ONE: dict[str, Any] = {"random_steps": "one", "noise_level": 0.4, "logprob_reduction": "sum"}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("network", ["mlp", "unet", "transformer"])
def test_with_one_random_step_the_first_ratio_is_one(network: str, process: str) -> None:
    policy = small("flow_sde", network=network, process=process, random_steps="one")
    obs, order = observations(24, torch.float64), torch.randperm(24)[:15]
    for deterministic in (False, True):
        decision = policy.act(obs, deterministic=deterministic)
        part, trace = ({key: x[order] for key, x in group.items()} for group in (obs, decision.trace))
        evaluation = policy.evaluate_actions(part, decision.action[order], trace)
        assert evaluation.log_prob.shape == evaluation.entropy.shape == (15, 1)
        assert ((evaluation.log_prob - decision.log_prob[order]).exp() - 1).abs().max() < 1e-6


def test_one_step_explores_and_the_others_follow_the_flow() -> None:
    policy, obs = small("flow_sde", flow={"steps": 4}, **ONE), observations(400, torch.float64)
    decision = policy.act(obs)
    cond, step = policy.condition(obs), decision.trace["step"]
    before, after = decision.trace["chain"].unbind(1)
    assert set(step.tolist()) == {0, 1, 2, 3}
    assert (torch.bincount(step) - 100).abs().max() < 35  # four standard deviations
    for k in range(4):
        here = step == k
        x = after[here]
        for later in range(k + 1, 4):
            x = x + at_time(policy.network, x, later / 4, cond[here]) / 4
        torch.testing.assert_close(x, decision.action[here])
        mean = stepped(before[here], at_time(policy.network, before[here], k / 4, cond[here]), k, 4, 0.4)
        scaled = (after[here] - mean) / sde_std(k, 4, 0.4)
        assert scaled.abs().max() <= 3 + 1e-9 and 0.85 < scaled.std() < 1.1
        density = Normal(mean, sde_std(k, 4, 0.4)).log_prob(after[here]).sum((1, 2))
        torch.testing.assert_close(decision.log_prob[here], density.unsqueeze(1))
        entropy = policy.evaluate_actions(obs, decision.action, decision.trace).entropy[here]
        expected = 6 * Normal(0.0, sde_std(k, 4, 0.4)).entropy().double()
        torch.testing.assert_close(entropy, expected.expand_as(entropy), atol=1e-6, rtol=0)


def test_the_states_before_the_random_step_are_the_flows() -> None:
    policy, obs = small("flow_sde", flow={"steps": 3}, **ONE), observations(60, torch.float64)
    cond, step = policy.condition(obs), torch.full((60,), 2)
    states = policy._draw_one(cond, step)
    flow = policy.chain(cond, states[0].unsqueeze(1))
    torch.testing.assert_close(states[:3], flow[:3])
    assert (states[3] - flow[3]).abs().min(0).values.max() > 0


def test_with_a_single_step_one_is_all() -> None:
    one, whole = (small("flow_sde", flow={"steps": 1}, **(ONE | {"random_steps": x})) for x in ("one", "all"))
    whole.load_state_dict(one.state_dict())
    obs = observations(6, torch.float64)
    decision = one.act(obs)
    expected = whole.evaluate_actions(obs, decision.action, {"chain": decision.trace["chain"][:, :1]})
    torch.testing.assert_close(decision.log_prob, expected.log_prob)


def test_an_update_evaluates_the_network_once_a_decision() -> None:
    policy, obs = small("flow_sde", flow={"steps": 4}, **ONE), observations(6, torch.float64)
    decision, rows = policy.act(obs), list[int]()
    policy.network.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    policy.evaluate_actions(obs, decision.action, decision.trace)
    assert rows == [6]


def test_deterministic_decisions_are_the_same_however_many_steps_explore() -> None:
    one, whole = (small("flow_sde", **(ONE | {"random_steps": x})) for x in ("one", "all"))
    whole.load_state_dict(one.state_dict())
    obs = observations(6, torch.float64)
    assert torch.equal(*(policy.act(obs, deterministic=True).action for policy in (one, whole)))
    assert torch.equal(*(one.act(obs, deterministic=True).log_prob for _ in range(2)))


def test_mistakes_name_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"policy\.process='diffusion': .*valid: flow, mean_flow, shortcut"):
        policies.make(SMALL | {"kind": "flow_sde", "process": "diffusion"}, SPEC)
    with pytest.raises(ValueError, match=r"policy\.noise_level=0: must be a number above 0"):
        policies.make(SMALL | {"kind": "flow_sde", "noise_level": 0}, SPEC)
    with pytest.raises(ValueError, match=r"policy\.random_steps='two': .*valid: all, one"):
        policies.make(SMALL | {"kind": "flow_sde", "random_steps": "two"}, SPEC)
