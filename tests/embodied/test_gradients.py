"""The compiled gradient against the plain one, and what is said where it cannot be had."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from embodied.gradients import CompileError, Gradient, missing_compiler
from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Batch, pieces
from embodied.types import Evaluation
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import PointMass

from .test_ppo import parameters, rollout_of

SMALL = MLPConfig(hidden=(16,))
here = pytest.mark.skipif(
    missing_compiler(torch.device("cpu")) is not None, reason=f"{missing_compiler(torch.device('cpu'))}"
)


def batch_of(policy: MLPPolicy, rows: int, masked: bool = False) -> Batch:
    obs = {"policy": torch.randn(rows, 2), "critic": torch.randn(rows, 3)}
    decision = policy.act(obs)
    told = [torch.randn(rows) for _ in range(3)]
    mask = torch.arange(rows) % 3 > 0 if masked else None
    return Batch(obs, decision.action.detach(), decision.log_prob.detach() + 0.1, *told, mask=mask)


def gradient_of(policy: MLPPolicy, compiled: bool) -> Gradient:
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return Gradient(policy, PPOConfig(compile=compiled, value_clip=0.2), list(policy.parameters()))


@here
def test_compiled_and_plain_agree_whatever_the_size_the_mask_and_the_weight() -> None:
    torch.manual_seed(0)
    policy = MLPPolicy(PointMass(2).spec, SMALL)
    weights: list[float | Tensor] = [1.0, 0.25, torch.tensor(0.5)]
    cases = [(batch_of(policy, rows, masked), weights[rows % 3]) for masked in (False, True) for rows in (12, 11, 7)]
    found: dict[bool, list[Tensor]] = {}
    for compiled in (False, True):
        gradient, found[compiled] = gradient_of(policy, compiled), []
        for batch, weight in cases:  # gradients add up from one to the next
            parts = gradient.add(batch, weight)
            gradients = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
            found[compiled].append(torch.cat([parts, *gradients]))
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert found[False][-1].norm() > 1


class Curious(MLPPolicy):
    """Has a loss of its own: to value nothing."""

    def evaluate_actions(self, obs: Any, action: Tensor, trace: Any) -> Evaluation:
        told = super().evaluate_actions(obs, action, trace)
        return dataclasses.replace(told, auxiliary=3 * told.value.square())


@here
def test_pieces_and_a_compiler_change_nothing_of_a_policys_own_loss() -> None:
    torch.manual_seed(0)
    policy = Curious(PointMass(2).spec, SMALL)
    batch, found = batch_of(policy, 12), []
    for compiled, size in ((False, None), (False, 7), (True, None), (True, 7)):
        gradient = gradient_of(policy, compiled)
        parts = torch.stack([gradient.add(piece, portion) for piece, portion in pieces(batch, size)]).sum(0)
        gradients = [p.grad.flatten() for p in policy.parameters() if p.grad is not None]
        found.append(torch.cat([parts, *gradients]))
    told = policy.evaluate_actions(batch.obs, batch.action, {})
    assert told.auxiliary is not None
    assert found[0][5].item() == pytest.approx(told.auxiliary.mean().item(), rel=1e-5)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


@here
def test_an_update_is_the_same_to_float_precision() -> None:
    torch.manual_seed(0)
    env = PointMass(16)
    policy = MLPPolicy(env.spec, SMALL)
    rollout, ends = rollout_of(env, policy), []
    for compiled in (False, True):
        torch.manual_seed(1)
        learner = copy.deepcopy(policy)
        figures = PPO(learner, PPOConfig(compile=compiled, num_minibatches=4, num_epochs=2)).update(rollout)
        ends.append((parameters(learner), figures))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-4, atol=1e-5)
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-3, abs=1e-5)
    assert not torch.equal(ends[0][0], parameters(policy))


@here
def test_a_policy_that_cannot_be_traced_is_told() -> None:
    class Odd(MLPPolicy):
        def evaluate_actions(self, obs: Any, action: Tensor, trace: Any) -> Any:
            print(float(action.sum()))
            return super().evaluate_actions(obs, action, trace)

    policy = Odd(PointMass(2).spec, SMALL)
    with pytest.raises(CompileError, match=r"algo\.compile=true: this policy cannot be compiled here: "):
        gradient_of(policy, compiled=True).add(batch_of(policy, 4))


def test_a_missing_compiler_is_named_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"algo\.compile=true: there is no C\+\+ compiler 'no-such-compiler'"):
        PPO(MLPPolicy(PointMass(2).spec, SMALL), PPOConfig(compile=True))


def test_missing_headers_and_an_old_torch_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": "/nowhere"})
    assert missing_compiler(cpu) == "Python's headers are missing: install them (apt install python3-dev)"
    assert missing_compiler(torch.device("cuda")) is None
    monkeypatch.setattr("embodied.gradients.hasattr", lambda *_: False, raising=False)
    assert "cannot trace a gradient" in str(missing_compiler(cpu))


def test_it_does_not_go_with_preferences() -> None:
    with pytest.raises(ValueError, match=r"algo\.compile=true: goes with algo\.loss=ppo only"):
        PPOConfig(compile=True, loss="dpo", schedule="constant")
