"""The stochastic steps keep the flow's marginals: exactly computable where everything is Gaussian."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

import policies
from policies.generative.flow import FlowConfig, RectifiedFlow
from policies.generative.flow_sde import sde_mean, sde_std
from policies.generative.process import denoise

from .models import SMALL, SPEC, GaussianVelocity, observations, small


def moments(steps: int, level: float, mean: float, std: float) -> tuple[float, float]:
    """Mean and deviation of the samples of K stochastic steps from N(0, 1): each step is affine in x."""
    velocity = GaussianVelocity(mean, std)
    centre, variance = 0.0, 1.0
    for k in range(steps):
        points = torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64)
        t = torch.full((1,), k / steps, dtype=torch.float64)
        offset, above = sde_mean(points, velocity(points, t, t), k, steps, level).flatten()
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
        x = sde_mean(x, velocity(x, torch.full((1,), k / 5), x), k, 5, 0.0)
        assert sde_std(k, 5, 0.0) == 0
    torch.testing.assert_close(x, denoise(RectifiedFlow(FlowConfig(5)), velocity, noise, torch.zeros(6, 1))[-1])


def test_a_step_by_hand() -> None:
    """K = 4, k = 2: t = 1/2; with a = 1, x = 1, v = 3: drift 3 - (1 - 3/2) = 3.5, deviation sqrt(1/4)."""
    assert sde_mean(torch.ones(1), torch.full((1,), 3.0), 2, 4, 1.0).item() == pytest.approx(1 + 3.5 / 4)
    assert sde_std(2, 4, 1.0) == pytest.approx(0.5)


def test_the_first_step_takes_the_time_of_the_second() -> None:
    """k = 0 of 4: x = 2, v = 1, a = 1: drift 1 - 2 * 2, deviation sqrt(1 / (1/4) / 4)."""
    assert sde_mean(torch.full((1,), 2.0), torch.ones(1), 0, 4, 1.0).item() == pytest.approx(2 - 3 / 4)
    assert sde_std(0, 4, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_likelihood_is_that_of_the_whole_chain(steps: int) -> None:
    policy = small("flow_sde", flow={"steps": steps}, logprob_reduction="sum", noise_level=0.4)
    obs = observations(5, torch.float64)
    decision = policy.act(obs)
    cond, chain = policy.condition(obs), [*decision.trace["chain"].unbind(1), decision.action]
    total = torch.zeros(5).double()
    for k in range(steps):
        velocity = policy.network(chain[k], torch.full((1,), k / steps).double(), cond)
        mean = sde_mean(chain[k], velocity, k, steps, 0.4)
        total += Normal(mean, sde_std(k, steps, 0.4)).log_prob(chain[k + 1]).sum((1, 2))
    torch.testing.assert_close(decision.log_prob, total.unsqueeze(-1))


def test_mistakes_name_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"policy\.process='diffusion': .*valid: flow, mean_flow, shortcut"):
        policies.make(SMALL | {"kind": "flow_sde", "process": "diffusion"}, SPEC)
    with pytest.raises(ValueError, match=r"policy\.noise_level=0: must be a number above 0"):
        policies.make(SMALL | {"kind": "flow_sde", "noise_level": 0}, SPEC)
