"""The chain's joint likelihood against torch's normal, and the bounds of the learnt noise."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

import policies

from .models import SMALL, SPEC, at_time, disturb, observations, small


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_likelihood_is_that_of_the_whole_chain(steps: int, reduction: str) -> None:
    policy = small("reinflow", flow={"steps": steps, "clip": 1.0}, logprob_reduction=reduction)
    obs = observations(5, torch.float64)
    decision = policy.act(obs)
    cond, chain = policy.condition(obs), [*decision.trace["chain"].unbind(1), decision.action]
    densities, entropies = [], []
    for k in range(steps):
        t = torch.full((1,), k / steps, dtype=torch.float64)
        mean = (chain[k] + at_time(policy.network, chain[k], k / steps, cond) / steps).clamp(-1, 1)
        normal = Normal(mean, policy.noise(t, cond, 0.08, torch.tensor(0.16).double())[:, 0])
        densities.append(normal.log_prob(chain[k + 1]))
        entropies.append(normal.entropy())
    joint, entropy = (torch.stack(x, 1).flatten(1) for x in (densities, entropies))
    expected = joint.sum(1) if reduction == "sum" else joint.mean(1)
    torch.testing.assert_close(decision.log_prob, expected.unsqueeze(-1))
    found = policy.evaluate_actions(obs, decision.action, decision.trace).entropy
    torch.testing.assert_close(found, (entropy.sum(1) if reduction == "sum" else entropy.mean(1)).unsqueeze(-1))


def test_the_noise_stays_within_its_bounds_and_starts_between_them() -> None:
    policy = policies.make(SMALL | {"kind": "reinflow", "min_noise": 0.05, "max_noise": 0.2}, SPEC)
    cond = policy.condition(observations(100))  # type: ignore[attr-defined]
    fresh = policy.deviations(cond)  # type: ignore[attr-defined]
    assert fresh.shape == (100, 4, 2, 3)
    assert (fresh / 0.1 - 1).abs().max() < 0.1  # the geometric mean of the bounds
    disturb(policy, 5.0)
    wild = policy.deviations(cond)  # type: ignore[attr-defined]
    assert wild.min() >= 0.05 * (1 - 1e-6) and wild.max() <= 0.2 * (1 + 1e-6)
    assert wild.max() / wild.min() > 3.9


def test_the_upper_bound_falls_late_in_training() -> None:
    policy = small("reinflow", min_noise=0.1, max_noise=0.3, decay_start=0.5, decay_to=0.25)
    found = []
    for fraction in (0.0, 0.5, 0.75, 1.0):
        policy.set_progress(fraction)
        found.append(policy.diagnostics()["noise/upper_bound"])
    assert found == pytest.approx([0.3, 0.3, 0.225, 0.15])
    disturb(policy, 5.0)
    obs = observations(50, torch.float64)
    assert policy.deviations(policy.condition(obs)).max() <= 0.15 + 1e-6
    other = small("reinflow", min_noise=0.1, max_noise=0.3)
    other.load_state_dict(policy.state_dict())
    assert other.diagnostics() == policy.diagnostics()


def test_by_default_the_bound_never_falls() -> None:
    policy = small("reinflow")
    policy.set_progress(1.0)
    assert policy.diagnostics()["noise/upper_bound"] == pytest.approx(0.16)


def test_deterministic_decisions_follow_the_flow_without_noise() -> None:
    policy = small("reinflow", flow={"steps": 2})
    obs = observations(4, torch.float64)
    cond = policy.condition(obs)
    half = at_time(policy.network, torch.zeros(4, 2, 3).double(), 0.0, cond) / 2
    expected = half + at_time(policy.network, half, 0.5, cond) / 2
    decision = policy.act(obs, deterministic=True)
    torch.testing.assert_close(decision.action, expected)
    judged = policy.evaluate_actions(obs, decision.action, decision.trace).log_prob
    torch.testing.assert_close(decision.log_prob, judged)


def test_on_a_diffusion_the_variances_add() -> None:
    policy = small("reinflow", process="diffusion")
    obs = observations(4, torch.float64)
    cond, t = policy.condition(obs), torch.full((1,), 0.25).double()
    own = policy.noise(t, cond, 0.08, torch.tensor(0.16).double())[:, 0]
    std = policy.deviations(cond)[:, 1]
    torch.testing.assert_close(std, (own**2 + policy.process.std[1] ** 2).sqrt())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"min_noise": 0.2, "max_noise": 0.1}, "policy.max_noise=0.1: must exceed min_noise=0.2"),
        ({"min_noise": 0.0}, "policy.min_noise=0.0: must be a number above 0"),
        ({"decay_start": -1}, "policy.decay_start=-1: must lie in"),
        ({"noise_hidden": []}, "policy.noise_hidden is empty"),
    ],
)
def test_mistakes_name_what_would_be_right(more: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policies.make(SMALL | {"kind": "reinflow"} | more, SPEC)
