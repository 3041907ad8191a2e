"""Tasks by Gymnasium's registry, and the real ones against Gymnasium's checks."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import envs
from envs.adapters import register


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


def test_every_task_is_registered_once() -> None:
    before = dict(gymnasium.registry)
    register()
    assert dict(gymnasium.registry) == before
    assert {f"embodied/{name}" for name in envs.task_names()} <= set(gymnasium.registry)


def test_make_vec_passes_arguments_and_can_be_made_again() -> None:
    env = gymnasium.make_vec("embodied/hopper", num_envs=3, autoreset_mode="NextStep", overrides={"horizon": 7})
    assert env.num_envs == 3 and env.unwrapped.env.spec.horizon == 7
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    again = gymnasium.make_vec(env.spec)
    assert again.num_envs == 3 and again.unwrapped.env.spec.horizon == 7
    np.testing.assert_array_equal(env.reset(seed=1)[0], again.reset(seed=1)[0])


@pytest.mark.filterwarnings("ignore")
def test_make_single_equals_gymnasiums_check() -> None:
    env = gymnasium.make("embodied/half_cheetah")
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space.shape == (17,)


def test_modes_agree_on_a_real_task() -> None:
    """Same seed, same actions: until the first end, and by episode lengths after it, the modes tell the same story."""
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 4, 3)).astype(np.float32)
    logs = {}
    for mode in ("SAME_STEP", "DISABLED", "NEXT_STEP"):
        env = gymnasium.make_vec("embodied/hopper", num_envs=4, num_threads=1, autoreset_mode=mode)
        env.reset(seed=0)
        rewards = []
        for action in actions:
            _, reward, terminated, truncated, _ = env.step(action)
            rewards.append(reward)
            if (terminated | truncated).any():
                break
        logs[mode] = np.array(rewards)
    np.testing.assert_array_equal(logs["SAME_STEP"], logs["DISABLED"])
    np.testing.assert_array_equal(logs["SAME_STEP"], logs["NEXT_STEP"])
    assert 2 < len(logs["SAME_STEP"]) < 40
