from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from embodied.types import Decision, Obs, StepResult
from sim2real.rollout import forget, record


class CountingEnv:
    """Row r ends after r + 2 steps; it observes (row, age)."""

    num_rows, device = 2, torch.device("cpu")

    def reset(self, seed: int | None = None) -> Obs:
        self.age = torch.zeros(2)
        return self._observe()

    def step(self, action: Tensor) -> StepResult:
        self.age += 1
        done = self.age >= torch.tensor([2.0, 3.0])
        self.age[done] = 0
        obs = self._observe()
        return StepResult(obs, torch.zeros(2), done, torch.zeros(2, dtype=torch.bool), obs, {})

    def _observe(self) -> Obs:
        return {"policy": torch.stack([torch.arange(2.0), self.age], -1)}


class Remembering:
    """Its memory counts its own decisions since the start; it notes what it was given."""

    recurrent = True

    def __init__(self) -> None:
        self.given: list[list[float]] = []

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        return {"n": torch.zeros(rows, 1)}

    def act(self, obs: Obs, memory: dict[str, Tensor], deterministic: bool = False) -> Decision:
        self.given.append(memory["n"][:, 0].tolist())
        zero = torch.zeros(2)
        return Decision(torch.zeros(2, 1, 1), zero[:, None], zero, {}, {"n": memory["n"] + 1})


def test_record_follows_the_episodes():
    policy = Remembering()
    recording = record(CountingEnv(), policy, lambda obs: obs, steps=5)  # type: ignore[arg-type]
    ages = [[0, 0], [1, 1], [0, 2], [1, 0], [0, 1]]
    np.testing.assert_array_equal(recording.obs[:, :, 0, 1], ages)
    np.testing.assert_array_equal(recording.start, np.equal(ages, 0))
    assert policy.given == ages  # the memory restarts with the episode


def test_record_keeps_histories():
    """A history (B, L, n) stays one, beside an observation (B, n) that becomes a history of one."""
    env = CountingEnv()
    observe = env._observe
    env._observe = lambda: {"policy": observe()["policy"].unsqueeze(1).repeat(1, 3, 1)}  # type: ignore[method-assign]
    recording = record(env, Remembering(), lambda obs: obs, steps=2)  # type: ignore[arg-type]
    assert recording.obs.shape == (2, 2, 3, 2)
    np.testing.assert_array_equal(recording.obs[1, :, 2], [[0, 1], [1, 1]])


def test_record_keeps_what_was_seen_and_said():
    env = CountingEnv()
    observe = env._observe

    def both() -> Obs:
        obs = observe()
        said = obs["policy"].to(torch.uint8)
        return obs | {"image": said[:, :, None, None].repeat(1, 1, 2, 3), "instruction": said}

    env._observe = both  # type: ignore[method-assign]
    recording = record(env, Remembering(), lambda obs: obs, steps=3)  # type: ignore[arg-type]
    assert recording.image is not None and recording.image.shape == (3, 2, 2, 2, 3)
    np.testing.assert_array_equal(recording.instruction, recording.obs[:, :, 0])
    np.testing.assert_array_equal(recording.image[..., 1, 2], recording.obs[:, :, 0])


def test_forget_clears_only_the_ended_rows():
    memory = {"n": torch.tensor([[5.0], [7.0]])}
    kept = forget(Remembering(), memory, torch.tensor([False, True]))  # type: ignore[arg-type]
    assert kept["n"].tolist() == [[5.0], [0.0]]
