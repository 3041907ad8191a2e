"""Language decides: cloned, a policy points at the square that it is told to; PPO makes a mediocre one right."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import policies
from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Carry, Rollout, collect
from embodied.text import encode_text

from .squares import LENGTH, TEXTS, Squares, draw

TRUNK = {"width": 32, "blocks": 2, "heads": 2, "max_words": 8, "unknown_words": 1}
TOKENS: dict[str, Any] = {"kind": "compact_vla", "bins": 3, "trunk": TRUNK}
FLOW: dict[str, Any] = {"kind": "reinflow", "encoder": "vla", "trunk": TRUNK, "mlp": {"hidden": [64, 64]}}


def cloned(config: dict[str, Any], steps: int, until: float = 2.0) -> Any:
    """A policy after so many gradient steps of 64 demonstrations, or once it is right so often."""
    torch.manual_seed(0)
    policy: Any = policies.make(config, Squares(1).spec)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        obs, answer = draw(64, generator)
        optimizer.zero_grad()
        policy.imitation_loss(obs, answer.unsqueeze(1)).mean().backward()
        optimizer.step()
        if step % 10 == 9 and right(policy) >= until:
            break
    return policy


@torch.no_grad()
def right(policy: Any, rows: int = 256) -> float:
    """Share of new scenes in which the most likely action is right, to the nearest place."""
    obs, answer = draw(rows, torch.Generator().manual_seed(2))
    found = policy.act(obs, deterministic=True).action[:, 0].round()
    return (found == answer).all(-1).float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [TOKENS, TOKENS | {"decoding": "autoregressive"}, FLOW], ids=["parallel", "autoregressive", "flow"]
)
def test_a_clone_points_at_the_square_that_it_is_told_to(config: dict[str, Any]) -> None:
    policy = cloned(config, 300, until=0.97)
    assert right(policy) > 0.9
    obs, _ = draw(128, torch.Generator().manual_seed(3))
    red, blue = (
        policy.act(obs | {"instruction": encode_text([text] * 128, LENGTH)}, deterministic=True) for text in TEXTS
    )
    assert (red.action.round() != blue.action.round()).any(-1).float().mean() > 0.9


@pytest.mark.slow
def test_ppo_makes_a_mediocre_clone_right() -> None:
    policy, env = cloned(TOKENS | {"critic": "shared"}, 300, until=0.45), Squares(64)
    before = right(policy)
    ppo = PPO(
        policy,
        PPOConfig(
            num_steps=4,
            num_minibatches=4,
            num_epochs=2,
            schedule="constant",
            learning_rate=1e-3,
            entropy_coef=0.0,
            critic_warmup=2,
        ),
    )
    rollout, carry = Rollout(4, 64), Carry.start(env, policy, env.reset(seed=0))  # type: ignore[arg-type]
    for iteration in range(40):
        carry = collect(env, policy, rollout, carry)  # type: ignore[arg-type]
        ppo.update(rollout, iteration / 40)
    assert before < 0.7
    assert right(policy) > 0.8
