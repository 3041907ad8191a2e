"""All states of a chain are judged in one batch, to the same numbers as one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from policies.generative.process import at

from .models import observations, small

CASES: dict[str, dict[str, Any]] = {
    "dppo": {"kind": "dppo"},
    "dppo-frozen": {"kind": "dppo", "finetune_steps": 3},
    "dppo-v": {"kind": "dppo", "diffusion": {"train_steps": 6, "steps": 3, "prediction": "v"}},
    "reinflow": {"kind": "reinflow"},
    "reinflow-shortcut": {"kind": "reinflow", "process": "shortcut"},
    "flow-sde": {"kind": "flow_sde", "flow": {"steps": 3, "clip": 0.5}},
    "flow-sde-mean-flow": {"kind": "flow_sde", "process": "mean_flow", "mean_flow": {"steps": 2}},
}
NETWORKS = ("mlp", "unet", "transformer")


def made(case: str, network: str) -> tuple[Any, dict[str, Tensor], Any]:
    """A policy, observations, and a decision about them."""
    policy, obs = small(network=network, **CASES[case]), observations(5, torch.float64)
    with torch.no_grad():
        return policy, obs, policy.act(obs)


def one_by_one(policy: Any, x: Tensor, cond: Tensor) -> Tensor:
    """Means (B, J, H, A), as the sampler finds them."""
    predict = policy.predictor(cond)
    steps = range(policy.first, policy.process.steps)
    return torch.stack([policy.mean(predict(x[:, i], k), x[:, i], k) for i, k in enumerate(steps)], 1)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("case", CASES)
def test_means_and_their_gradients_are_those_of_single_steps(case: str, network: str) -> None:
    policy, obs, decision = made(case, network)
    cond, chain = policy.condition(obs), decision.trace["chain"]
    pair = policy.means(chain, cond), one_by_one(policy, chain, cond)
    torch.testing.assert_close(*pair, atol=1e-12, rtol=0)
    parameters, weight = list(policy.network.parameters()), torch.randn_like(chain)
    gradients = [torch.autograd.grad((means * weight).sum(), parameters) for means in pair]
    for together, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_judging_finds_what_drawing_said(case: str) -> None:
    policy, obs, decision = made(case, "mlp")
    judged = policy.evaluate_actions(obs, decision.action, decision.trace).log_prob
    torch.testing.assert_close(judged, decision.log_prob, atol=1e-12, rtol=1e-12)


def test_the_network_and_the_times_are_asked_once_and_the_frozen_network_never() -> None:
    policy, obs, decision = made("dppo-frozen", "mlp")
    rows: list[int] = []
    policy.network.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    policy.network.time.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    for part in policy.frozen.values():
        part.register_forward_pre_hook(lambda *_: pytest.fail("frozen steps are not judged"))
    policy.evaluate_actions(obs, decision.action, decision.trace)
    assert rows == [4, 5 * 3]  # K times, B x J states


def test_numbers_of_steps_broadcast_as_the_steps_do() -> None:
    x = torch.zeros(5, 3, 2, 4)
    assert at((1.0, 2.0, 3.0), 1, x) == 2.0
    several = at((1.0, 2.0, 3.0), torch.tensor([2, 0, 0]), x)
    assert isinstance(several, Tensor) and several.flatten().tolist() == [3.0, 1.0, 1.0]
    assert (x + several).shape == x.shape
