"""Small datasets whose numbers tell where they come from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from embodied.datasets import DatasetInfo, Episode, Episodes, GroupInfo
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec

INFO = DatasetInfo(
    task="push",
    control_dt=0.1,
    obs={"policy": GroupInfo((3,), names=("x", "y", "z"), units=("m", "m", "m")), "goal": GroupInfo((1,))},
    action_names=("dx", "dy"),
    robot="arm",
    extra={"expert": "nobody"},
)
CAMERA = DatasetInfo("look", 0.05, {"policy": GroupInfo((2,)), "top": GroupInfo((32, 48, 3), "uint8")}, ("a",))


def episode(steps: int, number: int = 0, **changes: object) -> Episode:
    """Step t of episode n: observation 100 n + t (+ 0.25 an element), action n + t / 100, reward t."""
    t = np.arange(steps, dtype=np.float32)
    policy = 100.0 * number + t[:, None] + 0.25 * np.arange(3, dtype=np.float32)
    goal = np.full((steps, 1), float(number), dtype=np.float32)
    action = np.stack([number + t / 100, -t], -1).astype(np.float32)
    final = {"policy": policy[-1] + 1, "goal": goal[-1]}
    made = Episode({"policy": policy.astype(np.float32), "goal": goal}, action, t, final_obs=final)
    made.terminated, made.success, made.instruction = number % 2 == 0, number % 2 == 0, f"push {number % 2}"
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def filmed(steps: int, number: int = 0) -> Episode:
    """A camera that sees one grey, which grows by 10 a step."""
    grey = (40 * number + 10 * np.arange(steps)).astype(np.uint8)
    frames = np.broadcast_to(grey[:, None, None, None], (steps, 32, 48, 3)).copy()
    policy = np.stack([grey, grey], -1).astype(np.float32)
    return Episode({"policy": policy, "top": frames}, policy[:, :1], np.zeros(steps, np.float32), success=True)


def episodes(*lengths: int) -> Episodes:
    """Episodes 0, 1, ... of these lengths in memory."""
    return Episodes(INFO, [episode(steps, number) for number, steps in enumerate(lengths)])


def same(a: Episode, b: Episode, final: bool = False) -> None:
    """Assert that two episodes hold the same numbers; ``final``: the last observation, too."""
    for name in a.obs:
        np.testing.assert_array_equal(a.obs[name], b.obs[name])
    np.testing.assert_array_equal(a.action, b.action)
    np.testing.assert_array_equal(a.reward, b.reward)
    assert (a.terminated, a.success) == (b.terminated, b.success)
    if final:
        assert a.final_obs is not None and b.final_obs is not None
        for name in a.final_obs:
            np.testing.assert_array_equal(a.final_obs[name], b.final_obs[name])


def spec(size: int = 2, chunk: int = 1, critic: int = 0, **changes: Any) -> TaskSpec:
    """The task of ``linear_data``, or one that it does not fit."""
    obs = {"policy": ObsGroup.of(ObsTerm("x", size))}
    if critic:
        obs["critic"] = ObsGroup.of(ObsTerm("x", critic))
    made = TaskSpec("reach", 0.1, 10, obs, ActionSpec(("a",), chunk=chunk))
    return dataclasses.replace(made, **changes)


def linear_data(episodes: int = 8, steps: int = 20, seed: int = 0) -> Episodes:
    """Random x (2), and the action 0.5 x0 - 0.25 x1."""
    rng = np.random.default_rng(seed)
    info = DatasetInfo("reach", 0.1, {"policy": GroupInfo((2,))}, ("a",))
    found = []
    for _ in range(episodes):
        x = (rng.normal(size=(steps, 2)) * [1.0, 4.0] + [3.0, -2.0]).astype(np.float32)
        action = x @ np.array([[0.5], [-0.25]], np.float32)
        found.append(Episode({"policy": x}, action, np.zeros(steps, np.float32)))
    return Episodes(info, found)
