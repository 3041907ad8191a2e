"""The Gymnasium views of a task: API, autoreset modes, Gymnasium's own checks and wrappers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import vector as wrappers

from envs.adapters import GymnasiumEnv, GymnasiumVectorEnv

ONES = np.ones((3, 2), np.float32)


def test_spaces_and_metadata(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy())
    assert isinstance(env, VectorEnv) and env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP and env.metadata["render_fps"] == 50
    assert env.single_observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    assert env.action_space.shape == (3, 2) and float(env.action_space.high.max()) == 1.0
    obs, infos = env.reset(seed=0)
    assert obs.dtype == np.float32 and env.observation_space.contains(obs) and infos == {}
    both = GymnasiumVectorEnv(toy(), obs_group=None)
    obs, _ = both.reset(seed=0)
    assert set(obs) == {"policy", "critic"} and both.observation_space.contains(obs)
    assert both.observation_space.contains(both.step(both.action_space.sample())[0])


def test_same_step_autoreset(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy())
    env.reset(seed=0)
    assert env.step(ONES)[4] == {}
    obs, reward, terminated, truncated, infos = env.step(ONES)  # row 0 terminates at 2 steps
    assert terminated.tolist() == [True, False, False] and not truncated.any()
    assert reward.tolist() == [2.0, 2.0, 2.0] and obs[:, 0].tolist() == [0.0, 2.0, 2.0]
    assert infos["_final_obs"].tolist() == [True, False, False] == infos["_final_info"].tolist()
    assert infos["final_obs"][0][0] == 2.0 and infos["final_obs"][1] is None
    info = infos["final_info"]
    assert info["episode"]["r"].tolist() == [4.0, 0.0, 0.0] and info["episode"]["l"].tolist() == [2, 0, 0]
    assert info["_episode"].tolist() == [True, False, False]
    assert info["metrics"]["success"].tolist() == [1.0, 0.0, 0.0] and info["metrics"]["_success"][0]
    for _ in range(3):
        step = env.step(ONES)
    assert step[3].tolist() == [False, True, False]  # row 1 is truncated at the horizon


def test_disabled_autoreset_resets_what_is_asked_for(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy(), autoreset_mode="DISABLED")
    env.reset(seed=0)
    env.step(ONES)
    obs, _, terminated, truncated, infos = env.step(ONES)
    assert obs[:, 0].tolist() == [2.0, 2.0, 2.0] and "final_obs" not in infos
    assert infos["metrics"]["return"].tolist() == [4.0, 0.0, 0.0] and infos["_metrics"].tolist() == [True, False, False]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(ONES)
    fresh, infos = env.reset(options={"reset_mask": terminated | truncated})
    assert infos == {} and fresh[:, 0].tolist() == [0.0, 2.0, 2.0] and fresh[0, 1] != obs[0, 1]
    np.testing.assert_array_equal(fresh[1:], obs[1:])
    assert env.step(ONES)[0][:, 0].tolist() == [1.0, 3.0, 3.0]


def test_next_step_autoreset(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy(), autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=0)
    env.step(ONES)
    obs, _, terminated, _, _ = env.step(ONES)
    assert terminated.tolist() == [True, False, False] and obs[:, 0].tolist() == [2.0, 2.0, 2.0]
    obs, reward, terminated, _, infos = env.step(ONES)
    assert obs[:, 0].tolist() == [0.0, 3.0, 3.0] and reward.tolist() == [0.0, 2.0, 2.0]
    assert not terminated.any() and infos == {}
    assert env.step(ONES)[0][:, 0].tolist() == [1.0, 4.0, 0.0 + 4.0]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_episode_statistics_agree_with_gymnasiums(toy: Callable[..., Any], mode: AutoresetMode) -> None:
    env = wrappers.RecordEpisodeStatistics(GymnasiumVectorEnv(toy(), autoreset_mode=mode))
    env.reset(seed=0)
    ended, compared = np.zeros(3, bool), 0
    for step in range(40):
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
        _, _, terminated, truncated, infos = env.step(ONES * 0.1 * (step % 5))
        ended = terminated | truncated
        if ended.any():
            info = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
            np.testing.assert_allclose(infos["episode"]["r"], info["metrics"]["return"], atol=1e-6)
            np.testing.assert_array_equal(infos["episode"]["l"], info["metrics"]["length"])
            compared += 1
    assert compared > 10


def test_seeds(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy())
    first, again, other = (env.reset(seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and len(set(first[:, 1])) == 3


def test_torch_outputs_and_conversion(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy(), output="torch")
    obs, _ = env.reset(seed=0)
    assert isinstance(obs, torch.Tensor)
    env.step(torch.ones(3, 2))
    _, reward, terminated, _, infos = env.step(torch.ones(3, 2))
    assert all(isinstance(x, torch.Tensor) for x in (reward, terminated, infos["final_obs"], infos["_final_obs"]))
    assert infos["final_obs"].shape == (3, 4) and float(infos["final_obs"][0, 0]) == 2.0


def test_array_conversion_in_front_of_torch(toy: Callable[..., Any]) -> None:
    pytest.importorskip("array_api_compat")
    converted = wrappers.RecordEpisodeStatistics(
        wrappers.ArrayConversion(GymnasiumVectorEnv(toy(), output="torch"), env_xp=torch, target_xp=np)
    )
    converted.reset(seed=0)
    converted.step(ONES)
    assert converted.step(ONES)[4]["episode"]["r"].tolist() == [4.0, 0.0, 0.0]


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
@pytest.mark.filterwarnings("ignore:.*precision lowered")
def test_gymnasiums_wrappers_work(toy: Callable[..., Any], mode: str) -> None:
    env: VectorEnv = GymnasiumVectorEnv(toy(), render_mode="rgb_array", autoreset_mode=mode)
    env = wrappers.RecordEpisodeStatistics(env)
    env = wrappers.NormalizeReward(env)
    env = wrappers.RescaleAction(env, -2.0, 2.0)
    env = wrappers.ClipAction(env)
    if mode == "NEXT_STEP":  # Gymnasium's observation wrappers refuse SAME_STEP
        env = wrappers.DtypeObservation(env, np.float64)
        env = wrappers.NormalizeObservation(env)
    obs, _ = env.reset(seed=0)
    for _ in range(12):
        obs, *_, infos = env.step(np.full((3, 2), 5.0, np.float32))
        if "episode" in infos and infos["_episode"][0]:
            assert infos["episode"]["r"][0] == 4.0 and infos["episode"]["l"][0] == 2
    assert obs.dtype == np.float32 and np.isfinite(obs).all()
    frames = env.render()
    assert frames is not None and [int(frame[0, 0, 0]) for frame in frames] == [0, 1, 2]


def test_returned_arrays_are_the_callers(toy: Callable[..., Any]) -> None:
    env = GymnasiumVectorEnv(toy())
    env.reset(seed=0)[0][:] = 99.0
    obs, reward, *_ = env.step(ONES)
    obs[:], reward[:] = 99.0, 99.0
    assert env.step(ONES * 0)[0][1, 0] == 2.0


def test_errors_name_the_choices(toy: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"did you mean 'policy'.*critic, policy"):
        GymnasiumVectorEnv(toy(), obs_group="polcy")
    with pytest.raises(ValueError, match="NEXT_STEP, SAME_STEP, DISABLED"):
        GymnasiumVectorEnv(toy(), autoreset_mode="never")
    with pytest.raises(ValueError, match="numpy or torch"):
        GymnasiumVectorEnv(toy(), output="jax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rgb_array"):
        GymnasiumVectorEnv(toy(), render_mode="human")
    with pytest.raises(ValueError, match="autoreset_mode DISABLED"):
        GymnasiumVectorEnv(toy()).reset(options={"reset_mask": np.ones(3, bool)})
    env = GymnasiumVectorEnv(toy(), autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.reset(options={"reset_mask": np.ones(3, bool)})
    env.reset()
    for mask in (np.ones(2, bool), np.ones(3), np.zeros(3, bool)):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=1, options={"reset_mask": np.ones(3, bool)})
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        env.step(np.ones((3, 1)))


def test_modes_need_the_hooks(toy: Callable[..., Any]) -> None:
    class Plain:
        spec, num_rows, device = toy.spec, 3, torch.device("cpu")  # type: ignore[attr-defined]

    with pytest.raises(ValueError, match="DISABLED needs autoreset"):
        GymnasiumVectorEnv(Plain(), autoreset_mode="DISABLED")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*(minimum value is -infinity|maximum value is infinity)")
def test_single_environment_passes_check_env(toy: Callable[..., Any]) -> None:
    env = GymnasiumEnv(toy(rows=1), render_mode="rgb_array")
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    env.step(np.ones(2))
    obs, reward, terminated, truncated, info = env.step(np.ones(2))
    assert (obs[0], reward, terminated, truncated) == (2.0, 2.0, True, False) and info["metrics"]["return"] == 4.0
    assert env.render().shape == (4, 6, 3)
    with pytest.raises(ValueError, match="one row"):
        GymnasiumEnv(toy(rows=2))


def test_single_environment_begins_no_episode_by_itself(toy: Callable[..., Any], monkeypatch) -> None:
    task = toy(rows=1)
    env = GymnasiumEnv(task)
    env.reset(seed=0)
    monkeypatch.setattr(task, "reset_rows", lambda *_: pytest.fail("its caller resets it"))
    env.step(np.ones(2))
    assert env.step(np.ones(2))[2]
    monkeypatch.undo()
    assert env.reset()[0][0] == 0.0


def test_close(toy: Callable[..., Any]) -> None:
    task = toy()
    GymnasiumVectorEnv(task).close()
    assert task.closed
