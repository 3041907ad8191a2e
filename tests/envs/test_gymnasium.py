"""Gymnasium environments as tasks of this suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import envs
from embodied.types import TaskSpec, VecEnv
from envs.gymnasium import GymnasiumVecEnv, make

MODES = list(AutoresetMode)


class Counter(gymnasium.Env):
    """Observes its step count and an identity; terminates at step ``limit``; reward is the action in its own units."""

    def __init__(self, limit: int = 3, space: spaces.Space | None = None) -> None:
        self.limit, self.count = limit, 0
        self.observation_space = space or spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Box(np.array([0.0, -4.0]), np.array([2.0, 4.0]), dtype=np.float64)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
        self.render_mode = "rgb_array"

    def _obs(self) -> Any:
        return np.array([self.count, self.limit], np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._obs(), {}

    def step(self, action: np.ndarray) -> Any:
        assert self.action_space.contains(action)
        self.count += 1
        done = self.count >= self.limit
        return self._obs(), float(action.sum()), done, False, {"is_success": self.limit == 3} if done else {}

    def render(self) -> Any:
        return np.full((2, 2, 3), self.limit, np.uint8)


def counters(mode: AutoresetMode, **options: Any) -> GymnasiumVecEnv:
    env = SyncVectorEnv([lambda: Counter(3), lambda: Counter(5)], autoreset_mode=mode)
    return GymnasiumVecEnv(env, name="counter", success_key="is_success", **options)


def act(env: VecEnv, value: float = 0.0) -> torch.Tensor:
    return torch.full((env.num_rows, 1, env.spec.action.size), value)


@pytest.mark.parametrize("mode", MODES)
def test_final_observation_reset_and_figures(mode: AutoresetMode) -> None:
    env = counters(mode)
    assert isinstance(env, VecEnv) and env.reset(seed=0)["policy"].tolist() == [[0, 3], [0, 5]]
    first, second, third = (env.step(act(env)) for _ in range(3))
    assert first.metrics == {} and second.obs["policy"].tolist() == [[2, 3], [2, 5]]
    assert third.terminated.tolist() == [True, False]
    assert third.final_obs["policy"].tolist() == [[3, 3], [3, 5]]
    # action 0 is the middle of [0, 2] x [-4, 4], so each step's reward is 1
    assert third.metrics["return"][0] == 3.0 and third.metrics["length"][0] == 3.0 and third.metrics["success"][0] == 1
    fourth = env.step(act(env))
    if mode is AutoresetMode.NEXT_STEP:  # the reset takes a step, which does not count
        assert fourth.active is not None and fourth.active.tolist() == [False, True]
        assert fourth.obs["policy"].tolist() == [[0, 3], [4, 5]]
    else:
        assert third.obs["policy"].tolist() == [[0, 3], [3, 5]] and fourth.obs["policy"].tolist() == [[1, 3], [4, 5]]
    fifth = env.step(act(env))
    assert fifth.done.tolist() == [False, True] and fifth.metrics["return"][1] == 5.0
    assert fifth.active is None or bool(fifth.active.all())


def test_actions_are_scaled_and_clipped() -> None:
    env = counters(AutoresetMode.SAME_STEP)
    env.reset()
    assert env.step(act(env, 5.0)).reward.tolist() == [6.0, 6.0]  # upper limits 2 + 4
    assert env.step(act(env, -0.5)).reward.tolist() == [-1.5, -1.5]  # 0.5 - 2
    with pytest.raises(ValueError, match=r"\(2, 1, 2\)"):
        env.step(torch.zeros(2, 2))


def test_equals_gymnasium_with_truncation_and_seeds() -> None:
    ours = envs.make("gymnasium", num_worlds=3, overrides={"id": "Pendulum-v1", "max_episode_steps": 5})
    theirs = [gymnasium.make("Pendulum-v1", max_episode_steps=5) for _ in range(3)]
    assert ours.spec.horizon == 5
    first = np.stack([env.reset(seed=7 + i)[0] for i, env in enumerate(theirs)])
    np.testing.assert_array_equal(ours.reset(seed=7)["policy"], first)
    for step in range(10):
        action = torch.rand(3, 1, 1) * 2 - 1
        result = ours.step(action)
        expected = [env.step(2.0 * a.numpy()) for env, a in zip(theirs, action[:, 0], strict=True)]
        np.testing.assert_allclose(result.final_obs["policy"], np.stack([e[0] for e in expected]), atol=1e-6)
        np.testing.assert_allclose(result.reward, [e[1] for e in expected], atol=1e-5)
        assert result.truncated.tolist() == [step % 5 == 4] * 3 and not result.terminated.any()
        if step == 4:
            again = np.stack([env.reset()[0] for env in theirs])
            np.testing.assert_array_equal(result.obs["policy"], again)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_without_autoreset_rows_are_shown_as_they_ended_until_asked(mode: AutoresetMode) -> None:
    env = counters(mode)
    env.autoreset = False
    env.reset(seed=0)
    for _ in range(3):
        result = env.step(act(env))
    assert result.done.tolist() == [True, False] and result.metrics["length"][0] == 3.0
    assert result.obs["policy"].tolist() == [[3, 3], [3, 5]]
    result = env.step(act(env))  # row 0 moves on unseen
    obs = env.reset_rows(torch.tensor([True, False]), result.obs)
    assert obs["policy"].tolist() == [[0, 3], [4, 5]]
    result = env.step(act(env))
    assert result.obs["policy"].tolist() == [[1, 3], [5, 5]] and result.metrics["length"][1] == 5.0
    assert env.reset_rows(result.done, result.obs)["policy"].tolist() == [[1, 3], [0, 5]]
    assert env.episode_length.tolist() == [1, 0]


def test_next_step_autoreset_cannot_be_turned_off() -> None:
    with pytest.raises(ValueError, match="use SAME_STEP or DISABLED"):
        counters(AutoresetMode.NEXT_STEP).autoreset = False


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_takes_chunks_and_histories(vectorization: str) -> None:
    """Until its end a chunk is a loop; a reset row starts as its Gymnasium environment does."""
    options = {"id": "Pendulum-v1", "max_episode_steps": 5, "vectorization": vectorization}
    plain, chunked = (
        envs.make("gymnasium", num_worlds=2, overrides=options | more) for more in ({}, {"chunk": 2, "history": 2})
    )
    assert chunked.spec.horizon == 3 and chunked.spec.action.chunk == 2
    assert torch.equal(plain.reset(seed=1)["policy"], chunked.reset(seed=1)["policy"][:, -1])
    for decision in range(3):
        action = torch.rand(2, 2, 1) * 2 - 1
        steps = [plain.step(action[:, i : i + 1]) for i in range(2 if decision < 2 else 1)]
        result = chunked.step(action)
        torch.testing.assert_close(result.reward, sum(step.reward for step in steps))
        assert torch.equal(result.final_obs["policy"][:, -1], steps[-1].final_obs["policy"])
        assert result.truncated.tolist() == [decision == 2] * 2
    assert result.metrics["length"].tolist() == [5.0, 5.0]
    torch.testing.assert_close(result.metrics["return"], steps[-1].metrics["return"])
    assert torch.equal(result.obs["policy"][:, 0], result.obs["policy"][:, 1])
    following = chunked.step(action)
    assert not following.done.any() and not torch.equal(following.obs["policy"][:, 0], result.obs["policy"][:, 0])
    plain.close()
    chunked.close()


def test_spec_survives_json_and_tells_the_time() -> None:
    env = counters(AutoresetMode.SAME_STEP)
    assert env.spec.control_dt == pytest.approx(0.02) and env.spec.success_metric == "success"
    assert TaskSpec.from_dict(json.loads(json.dumps(env.spec.to_dict()))) == env.spec
    assert env.render(1).max() == 5


SPACE = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (4, 4, 3), np.uint8),
        "joint": spaces.Box(-1, 1, (2, 2), np.float32),
        "mode": spaces.Discrete(3, start=5),
        "switch": spaces.Dict({"a": spaces.MultiBinary(2), "b": spaces.MultiDiscrete([2, 3])}),
    }
)


def with_space(space: spaces.Space, sample: Callable[[], Any]) -> GymnasiumVecEnv:
    class Sampler(Counter):
        def _obs(self) -> Any:
            return sample()

    return GymnasiumVecEnv(SyncVectorEnv([lambda: Sampler(1, space)] * 2, autoreset_mode=AutoresetMode.SAME_STEP))


def test_dict_observations_become_groups() -> None:
    value = {
        "camera": np.full((4, 4, 3), 9, np.uint8),
        "joint": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32),
        "mode": 6,
        "switch": {"a": np.array([1, 0], np.int8), "b": np.array([1, 2])},
    }
    env = with_space(SPACE, lambda: value)
    obs = env.reset()
    assert obs["image"].dtype == torch.uint8 and obs["image"].shape == (2, 4, 4, 3)
    assert [term.name for term in env.spec.obs["policy"].terms] == ["joint", "mode", "switch_a", "switch_b"]
    expected = [0.1, 0.2, 0.3, 0.4, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1]
    torch.testing.assert_close(obs["policy"], torch.tensor([expected, expected]))
    final = env.step(act(env)).final_obs  # every step ends here, so this went through final_obs
    torch.testing.assert_close(final["policy"], obs["policy"])
    assert torch.equal(final["image"], obs["image"]) and not env.spec.obs["image"].normalize


def test_groups_given_as_such_stay_groups() -> None:
    space = spaces.Dict({"policy": spaces.Box(-1, 1, (2,)), "critic": spaces.Box(-1, 1, (3,))})
    env = with_space(space, lambda: {"policy": np.zeros(2, np.float32), "critic": np.ones(3, np.float32)})
    assert {name: group.shape for name, group in env.spec.obs.items()} == {"policy": (2,), "critic": (3,)}
    assert env.reset()["critic"].shape == (2, 3)


def test_a_task_survives_the_round_trip() -> None:
    """Ours -> Gymnasium -> ours: the same numbers."""
    straight = envs.make("hopper", num_worlds=2, num_threads=1)
    round_trip = GymnasiumVecEnv(gymnasium.make_vec("embodied/hopper", num_envs=2, num_threads=1))
    obs = [env.reset(seed=3)["policy"] for env in (straight, round_trip)]
    assert torch.equal(*obs)
    ended = False
    for _ in range(60):
        action = torch.rand(2, 1, 3) * 2 - 1
        a, b = straight.step(action), round_trip.step(action)
        assert torch.equal(a.obs["policy"], b.obs["policy"]) and torch.equal(a.done, b.done)
        assert torch.equal(a.final_obs["policy"][a.done], b.final_obs["policy"][a.done])
        ended |= bool(a.done.any())
    assert ended


def test_continuation_truncates_and_starts_afresh() -> None:
    config = {"name": "p", "kind": "gymnasium", "id": "Pendulum-v1"}
    first, second = (make(config, num_worlds=2, seed=seed) for seed in (0, 1))
    start = first.reset()["policy"]
    for _ in range(3):
        last = first.step(act(first, 0.3))
    second.load_state_dict(first.state_dict())
    cut = second.step(act(second))
    assert bool(cut.truncated.all()) and cut.active is not None and not bool(cut.active.any())
    assert torch.equal(cut.final_obs["policy"], last.obs["policy"]) and cut.metrics["length"].tolist() == [3.0, 3.0]
    assert not torch.equal(cut.obs["policy"], start) and not torch.equal(cut.obs["policy"], last.obs["policy"])
    assert not bool(second.step(act(second)).done.any())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id": "CartPole-v1"}, "continuous"),
        ({"vectorization": "threads"}, "sync or async"),
        ({"idd": "Pendulum-v1"}, "did you mean 'id'"),
    ],
)
def test_errors(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make({"name": "x", "kind": "gymnasium", "id": "Pendulum-v1"} | config, num_worlds=1)


def test_unsupported_observations_name_the_choices() -> None:
    with pytest.raises(ValueError, match="MultiBinary"):
        with_space(spaces.Text(5), lambda: "hello")


def test_the_autoreset_mode_must_be_declared() -> None:
    env = SyncVectorEnv([Counter])
    env.metadata = {}
    with pytest.raises(ValueError, match="autoreset_mode"):
        GymnasiumVecEnv(env)
