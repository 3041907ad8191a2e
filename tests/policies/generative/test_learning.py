"""Every rule learns to reach the origin from scratch, by the learner as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import policies
from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Carry, Rollout, collect
from tests.helpers.environments import PointMass

SMALL: dict[str, Any] = {"critic_hidden": [32, 32], "mlp": {"hidden": [32, 32], "time_size": 8}}
FROM_SCRATCH = {"near_zero_output": True, "diffusion": {"train_steps": 4, "prediction": "x0", "clip": None}}
SLOW_LEARNER = {"clip_range": 0.1, "schedule": "constant", "learning_rate": 1e-3}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "ncdpo": ({"kind": "ncdpo", "init_std": 0.5} | FROM_SCRATCH, {}, 0.6),
    "dppo": (
        {"kind": "dppo", "min_sampling_std": 0.3, "min_logprob_std": 0.3, "logprob_reduction": "sum"} | FROM_SCRATCH,
        {},
        0.8,
    ),
    "reinflow": ({"kind": "reinflow", "min_noise": 0.2, "max_noise": 0.4, "logprob_reduction": "sum"}, {}, 0.85),
    "flow_sde": ({"kind": "flow_sde", "noise_level": 0.5, "logprob_reduction": "sum"}, {}, 0.85),
    "flow_sde-one": (
        {"kind": "flow_sde", "random_steps": "one", "noise_level": 0.5, "logprob_reduction": "sum"},
        {},
        0.85,
    ),
    "fpo": ({"kind": "fpo"}, SLOW_LEARNER, 0.95),
    "residual": ({"kind": "residual", "base_chunk": 2, "scale": 1.0, "init_std": 0.5}, {}, 0.85),
}
"""Policy, learner, and the share of the first rollout's distance from the origin that may be left at the end."""


def distances(kind: str, iterations: int) -> list[float]:
    """Mean distance from the origin in each rollout of 64 rows x 16 steps."""
    config, algo, _ = CASES[kind]
    env = PointMass(64)
    policy = policies.make(SMALL | config, env.spec)
    ppo = PPO(policy, PPOConfig(**({"num_steps": 16, "learning_rate": 3e-3, "entropy_coef": 0.0} | algo)))
    rollout, carry, found = Rollout(16, 64), Carry.start(env, policy, env.reset(seed=0)), []
    for iteration in range(iterations):
        carry = collect(env, policy, rollout, carry)
        ppo.update(rollout, iteration / iterations)
        found.append(-rollout.reward.mean().item())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_it_learns_to_go_to_the_origin(kind: str) -> None:
    torch.manual_seed(0)
    found = distances(kind, 15)
    assert found[-1] < CASES[kind][2] * found[0]
