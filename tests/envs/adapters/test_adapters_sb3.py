"""The Stable-Baselines3 view of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import envs
from envs.adapters.sb3 import SB3VecEnv

ONES = np.ones((3, 2), np.float32)


def test_step_and_infos(toy: Callable[..., Any]) -> None:
    env = SB3VecEnv(toy())
    assert env.reset().shape == (3, 4)
    _, _, done, infos = env.step(ONES)
    assert not done.any() and infos == [{}, {}, {}]
    obs, reward, done, infos = env.step(ONES)
    assert done.tolist() == [True, False, False] and reward.tolist() == [2.0, 2.0, 2.0] and obs[0, 0] == 0.0
    assert infos[0]["terminal_observation"][0] == 2.0 and infos[0]["TimeLimit.truncated"] is False
    assert (infos[0]["episode"]["r"], infos[0]["episode"]["l"]) == (4.0, 2) and infos[0]["is_success"] == 1.0
    for _ in range(3):
        _, _, done, infos = env.step(ONES)
    assert done[1] and infos[1]["TimeLimit.truncated"] is True and infos[1]["terminal_observation"][0] == 5.0


def test_seed_is_used_once(toy: Callable[..., Any]) -> None:
    env = SB3VecEnv(toy())
    env.seed(4)
    first, second = env.reset(), env.reset()
    env.seed(4)
    np.testing.assert_array_equal(env.reset(), first)
    assert not np.array_equal(first, second)


def test_attributes(toy: Callable[..., Any]) -> None:
    env = SB3VecEnv(toy(), render_mode="rgb_array")
    assert env.get_attr("num_rows", [0, 1]) == [3, 3]
    env.set_attr("autoreset", False)
    assert env.get_attr("autoreset") == [False] * 3
    assert env.env_is_wrapped(object) == [False] * 3
    assert env.env_method("render", 1)[0].max() == 1
    with pytest.raises(ValueError, match="share one environment"):
        env.set_attr("autoreset", True, indices=[0])
    assert [int(image.max()) for image in env.get_images() if image is not None] == [0, 1, 2]


def test_dict_observations_and_sb3_wrappers(toy: Callable[..., Any]) -> None:
    env = SB3VecEnv(toy(), obs_group=None)
    env.reset()
    env.step(ONES)
    _, _, _, infos = env.step(ONES)
    assert infos[0]["terminal_observation"]["critic"].tolist() == [20.0]
    wrapped = VecNormalize(VecMonitor(SB3VecEnv(toy())))
    wrapped.reset()
    wrapped.step(ONES)
    _, _, done, infos = wrapped.step(ONES)
    assert done[0] and infos[0]["episode"]["r"] == 4.0


@pytest.mark.parametrize("group", ["policy", None])
def test_sb3_ppo_trains(group: str | None) -> None:
    env = SB3VecEnv(envs.make("hopper", num_worlds=4, num_threads=1), obs_group=group)
    policy = "MlpPolicy" if group else "MultiInputPolicy"
    model = PPO(policy, env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(256)
    assert model.num_timesteps == 256 and len(model.ep_info_buffer) > 0
    assert np.isfinite([info["r"] for info in model.ep_info_buffer]).all()
