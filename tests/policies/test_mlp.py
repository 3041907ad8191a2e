"""The perceptron policy reads the groups it should."""

from __future__ import annotations

import torch

from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from policies.mlp import MLPConfig, MLPPolicy, group_size

SPEC = TaskSpec(
    "x",
    0.1,
    10,
    {"policy": ObsGroup.of(ObsTerm("p", 3)), "critic": ObsGroup.of(ObsTerm("c", 2)), "map": ObsGroup(shape=(4, 5))},
    ActionSpec(("a", "b"), chunk=3),
)


def test_the_actor_never_sees_the_critics_group() -> None:
    policy = MLPPolicy(SPEC, MLPConfig(hidden=(8,), critic_hidden=(4,)))
    obs = {"policy": torch.randn(2, 3), "critic": torch.randn(2, 2)}
    other = obs | {"critic": obs["critic"] + 1}
    assert torch.equal(policy.act(obs, deterministic=True).action, policy.act(other, deterministic=True).action)
    assert not torch.equal(policy.value(obs), policy.value(other))
    other = obs | {"policy": obs["policy"] + 1}
    assert torch.equal(policy.value(obs), policy.value(other))


def test_actions_start_near_zero_with_the_initial_deviation() -> None:
    policy = MLPPolicy(SPEC, MLPConfig(init_std=0.5))
    obs = {"policy": torch.randn(4000, 3), "critic": torch.zeros(4000, 2)}
    assert policy.act(obs, deterministic=True).action.abs().max() < 0.2
    assert abs(policy.act(obs).action.std().item() - 0.5) < 0.02
    assert policy.diagnostics() == {"std": 0.5}


def test_the_critic_is_as_wide_as_the_actor_unless_told() -> None:
    assert MLPConfig(hidden=(7, 3)).critic_hidden == (7, 3)
    assert MLPConfig(hidden=(7, 3), critic_hidden=(2,)).critic_hidden == (2,)


def test_arrays_count_all_their_elements() -> None:
    assert group_size(SPEC, "map") == 20
