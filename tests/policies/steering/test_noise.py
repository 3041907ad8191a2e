"""A task whose action is the noise of a frozen policy."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import policies
from embodied.normalize import ObsNormalizer
from embodied.ppo import PPOConfig
from embodied.train import TrainConfig, Trainer
from embodied.types import VecEnv
from envs.chunking import ChunkedVecEnv
from policies.steering.noise import NoiseVecEnv
from tests.envs.adder import Adder

from .base import Compass, bounded


def test_noise_becomes_what_the_frozen_policy_makes_of_it() -> None:
    plain, env = bounded(), NoiseVecEnv(bounded(), Compass(), bound=0.5)
    assert isinstance(env, VecEnv)
    obs = plain.reset(seed=3)["policy"]
    assert torch.equal(env.reset(seed=3)["policy"], obs)
    noise = torch.linspace(-1, 1, 16).view(8, 1, 2)
    ours, theirs = env.step(noise), plain.step(noise[:, :, :1].clamp(-0.5, 0.5) * -2 * obs.unsqueeze(1))
    assert torch.equal(ours.obs["policy"], theirs.obs["policy"]) and torch.equal(ours.reward, theirs.reward)


def test_the_specification_is_that_of_noise() -> None:
    spec = NoiseVecEnv(bounded(), Compass(), bound=2.0).spec
    assert (spec.action.low, spec.action.high, spec.action.kind) == (-2.0, 2.0, "noise")
    assert spec.action.names == ("noise.a0", "noise.a1") and spec.symmetry is None and not spec.obs["policy"].normalize


def test_the_frozen_policy_and_the_learner_see_standardised_observations() -> None:
    class Spy(Compass):
        def export_forward(self, obs_policy: Any, noise: Any, image: Any = None) -> Any:
            self.seen = obs_policy
            return super().export_forward(obs_policy, noise)

    plain, spy = bounded(), Spy()
    normalizer = ObsNormalizer.of(plain.spec)
    normalizer.accumulate({name: 3 * x + 1 for name, x in plain.reset(seed=0).items()})
    normalizer.commit()
    env = NoiseVecEnv(bounded(horizon=1), spy, normalizer=normalizer)
    expected = normalizer(plain.reset(seed=1))["policy"]
    assert torch.equal(env.reset(seed=1)["policy"], expected)
    result = env.step(torch.zeros(8, 1, 2))
    assert torch.equal(spy.seen, expected) and bool(result.truncated.all())
    assert torch.equal(result.final_obs["policy"], expected)  # noise 0 does not move the point


def test_state_dict_continues_bit_for_bit() -> None:
    env, other = (NoiseVecEnv(bounded(), Compass()) for _ in range(2))
    env.reset(seed=0)
    noise = torch.randn(10, 8, 1, 2)
    env.step(noise[0])
    state = copy.deepcopy(env.state_dict())
    first = [env.step(x).obs["policy"] for x in noise]
    other.load_state_dict(state)
    assert all(torch.equal(a, other.step(x).obs["policy"]) for a, x in zip(first, noise, strict=True))


def test_the_discount_of_a_chunk_is_the_tasks() -> None:
    base = Compass(chunk=2)
    base.noise_shape = (1, 2, 1)
    env = NoiseVecEnv(inner := ChunkedVecEnv(Adder(2), chunk=2), base)
    env.discount = 0.5
    assert inner.discount == 0.5 and env.discount == 0.5 and NoiseVecEnv(bounded(), Compass()).discount == 1.0


def test_policies_of_this_suite_can_be_steered() -> None:
    task = ChunkedVecEnv(Adder(2), chunk=4, history=2)
    flow: Any = policies.make({"kind": "reinflow", "process": "flow"}, task.spec)
    env = NoiseVecEnv(task, flow, normalizer=ObsNormalizer.of(task.spec))
    env.reset()
    result = env.step(torch.randn(2, 4, 1))
    assert result.obs["policy"].shape == (2, 2, 2) and not result.reward.requires_grad


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (Compass(), {"bound": 0.0}, "bound=0.0"),
        (Compass(chunk=4), {}, r"chunks of shape \(4, 2\), task 'point' takes \(1, 2\): set task.chunk"),
        (Compass(draws=3), {}, "draws 3 noise tensors a decision; DSRL steers one"),
    ],
)
def test_errors(base: Compass, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoiseVecEnv(bounded(), base, **options)


def test_a_wrong_noise_shape_says_what_was_expected() -> None:
    env = NoiseVecEnv(bounded(), Compass())
    env.reset()
    with pytest.raises(ValueError, match=r"expected \(8, 1, 2\)"):
        env.step(torch.zeros(8, 2))


def test_the_suites_own_learner_steers_it() -> None:
    env = NoiseVecEnv(bounded(64), Compass())
    policy: Any = policies.make({"kind": "mlp", "hidden": [32]}, env.spec)
    algo = PPOConfig(num_steps=12, learning_rate=3e-3, gamma=0.9, entropy_coef=0.0)
    trainer = Trainer(env, policy, TrainConfig(algo=algo, total_steps=10**5))
    assert isinstance(trainer.module, nn.Module)
    rewards = [trainer.iterate()["reward"] for _ in range(10)]
    assert rewards[-1] > rewards[0] + 0.2
