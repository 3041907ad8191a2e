"""EXPO: the best of what a frozen policy does and of its edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from embodied.evaluate import evaluate
from envs.chunking import ChunkedVecEnv
from tests.envs.adder import Adder

from .base import Compass, bounded

pytest.importorskip("stable_baselines3")

from envs.adapters.sb3 import SB3VecEnv
from policies.steering.expo import EXPO, expo

FAST = {"learning_rate": 3e-3, "batch_size": 64, "gradient_steps": 4, "gamma": 0.9, "device": "cpu", "seed": 0}


def made(base: Any, env: Any = None, **options: Any) -> EXPO:
    return expo(SB3VecEnv(env or bounded()), base, policy_kwargs={"net_arch": [32]}, **(FAST | options))


class Nearness(nn.Module):
    """Two critics that know how far an action is from 0.25, one of which is sure of itself."""

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        value = -(action - 0.25).square().sum(-1, keepdim=True)
        return value + 5, value


def test_candidates_are_chunks_and_their_edits_each_with_its_smallest_value() -> None:
    policy = made(Compass(bias=0.1), candidates=3, edit_scale=0.2).policy
    obs = 0.1 + 0.2 * torch.rand(4, 2)  # nothing reaches a limit
    action, value = policy.judge(obs, Nearness())
    assert action.shape == (4, 6, 2) and value.shape == (4, 6)
    torch.testing.assert_close(value, -(action - 0.25).square().sum(-1))
    drawn, edited = action[:, 0::2], action[:, 1::2]  # side by side
    assert bool(((edited - drawn).abs() <= 0.2 + 1e-6).all()) and bool((edited != drawn).all())
    way = (drawn - 0.1) / (-2 * obs.unsqueeze(1))  # what the noise of each draw said
    torch.testing.assert_close(way[..., 0], way[..., 1])
    assert bool((way.abs() <= 1 + 1e-5).all())


def test_the_best_one_is_executed() -> None:
    policy = made(Compass(), candidates=4).policy
    policy.critic = Nearness()
    obs = torch.rand(5, 2)
    torch.manual_seed(7)
    chosen = policy._predict(obs)
    torch.manual_seed(7)
    action, _ = policy.judge(obs, Nearness())
    nearest = (action - 0.25).square().sum(-1).argmin(1)
    assert torch.equal(chosen, action[torch.arange(5), nearest])


def test_the_target_is_the_best_candidates_smallest_value() -> None:
    model = made(Compass(), gamma=0.5)
    judged = torch.tensor([[1.0, 4.0], [3.0, 2.0]])
    model.policy.judge = lambda obs, critic: (None, judged)  # type: ignore[method-assign,assignment,return-value]

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.zeros(1))
            self.optimizer = torch.optim.SGD(self.parameters(), 0.0)

        def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            return self.level.expand(2, 1), self.level.expand(2, 1)

    class Batch:
        observations = next_observations = actions = torch.zeros(2, 2)
        rewards, dones = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [1.0]])

    model.critic = Critic()  # type: ignore[assignment]
    loss = model._update_critic(Batch())
    assert loss == pytest.approx(0.5 * 2 * ((1 + 0.5 * 4) ** 2 + 1**2) / 2)


def test_actions_are_scaled_to_the_tasks_limits() -> None:
    """The task of an Adder takes [-3, 3], so a chunk of 1.5 is 0.5 in here; and it is executed as 1.5."""

    class Same(Compass):
        def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Any = None) -> Tensor:
            return torch.full((len(noise), 3, 1), 1.5)

    base = Same(chunk=3)
    base.noise_shape = (1, 3, 1)
    env = ChunkedVecEnv(Adder(2), chunk=3, history=2)
    model = made(base, env, edit_scale=1e-6, learning_starts=10)
    torch.testing.assert_close(model.policy.draw(torch.zeros(2, 2, 2)), torch.full((2, 3), 0.5))
    action, _ = model.predict(np.zeros((2, 2, 2), np.float32))
    assert action.shape == (2, 3, 1)
    np.testing.assert_allclose(action, 1.5, atol=1e-5)
    model.learn(20)
    assert model._n_updates > 0


def test_nothing_random_is_executed_before_learning_starts() -> None:
    env = bounded()
    seen: list[Tensor] = []
    step = env.step
    env.step = lambda action: (seen.append(action), step(action))[1]  # type: ignore[method-assign,func-returns-value]
    made(Compass(), env, learning_starts=1000, edit_scale=1e-6, candidates=1).learn(80)
    away = torch.cat(seen)[:, 0]
    assert len(away) == 80 and float(away.abs().median()) < 0.9  # uniform noise would be unrelated to the state


def test_it_betters_a_base_that_is_off_the_mark() -> None:
    """The base goes the wrong way half of the time, and always 0.4 beside it; choosing and editing mend both."""
    env, base = bounded(), Compass(bias=0.4)
    before = base.gain.item()
    model = made(base, env, candidates=4, edit_scale=0.5, learning_starts=80)

    def act(obs: Any) -> Tensor:
        return torch.as_tensor(model.predict(obs["policy"].numpy(), deterministic=True)[0]).view(-1, 1, 2)

    def drawn(obs: Any) -> Tensor:
        return base.export_forward(obs["policy"], torch.randn(8, 1, 1, 2)).detach()

    unaided = evaluate(env, drawn, 64)["metrics"]["return"]["mean"]
    model.learn(640)
    after = evaluate(env, act, 64)["metrics"]["return"]["mean"]
    best = evaluate(env, lambda obs: (-2 * obs["policy"]).unsqueeze(1), 64)["metrics"]["return"]["mean"]
    assert after > unaided + 0.5 * (best - unaided)
    assert base.gain.item() == before and not base.gain.requires_grad


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (Compass(chunk=2), {}, r"chunks of shape \(2, 2\), the environment takes actions of \(2,\)"),
        (Compass(), {"candidates": 0}, "candidates=0"),
        (Compass(), {"edit_scale": -1.0}, "edit_scale=-1.0"),
        (Compass(), {"ent_coef": 0.1}, "valid: 'auto'"),
    ],
)
def test_errors(base: Compass, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(base, **options)


def test_one_observation_group_is_taken() -> None:
    with pytest.raises(ValueError, match="one observation group"):
        expo(SB3VecEnv(bounded(), obs_group=None), Compass(), device="cpu")
