"""What is refused before a run begins."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from embodied.checks import check_groups, check_minibatches
from embodied.ppo import PPOConfig
from policies.gru import GRUConfig, GRUPolicy
from policies.mlp import MLPPolicy
from tests.helpers.environments import PointMass

from .groups import Line


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (PointMass(32), r"algo\.group_size=8: point begins the same episode in 1 neighbouring worlds; set task\."),
        (Line(32, group=4), "in 4 neighbouring worlds; set task.group=8"),
        (Line(28, group=8), "28 rows do not divide by it"),
        (Line(32, horizon=13), r"algo\.num_steps=12: a whole episode of line has 13 decisions"),
        (Line(32, horizon=0), "a whole episode of line has 0 decisions"),
    ],
)
def test_rollouts_that_are_no_groups_of_whole_episodes(env: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_groups(env, PPOConfig(num_steps=12, advantage="group_relative"))
    check_groups(env, PPOConfig(num_steps=12))


def test_preferences_need_a_measure_of_success() -> None:
    env = Line(32)
    env.spec = dataclasses.replace(env.spec, success_metric=None)
    with pytest.raises(ValueError, match=r"algo\.loss=dpo: line does not measure success"):
        check_groups(env, PPOConfig(num_steps=4, loss="dpo", schedule="constant"))


def test_too_many_minibatches_are_told_before_anything_is_collected() -> None:
    env = PointMass(4)
    recurrent, flat = GRUPolicy(env.spec, GRUConfig(memory_size=4)), MLPPolicy(env.spec)
    few = PPOConfig(num_steps=2, num_minibatches=5)
    check_minibatches(env, flat, few)
    with pytest.raises(ValueError, match=r"algo\.num_minibatches=5: a rollout has only 4 sequences"):
        check_minibatches(env, recurrent, few)
    with pytest.raises(ValueError, match=r"algo\.num_minibatches=9: a rollout has only 8 decisions"):
        check_minibatches(env, flat, replace(few, num_minibatches=9))
