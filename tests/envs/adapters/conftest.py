"""A small task whose every number can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embodied.types import ActionSpec, Obs, ObsGroup, ObsTerm, StepResult, TaskSpec


class Toy:
    """Row i counts its steps: even rows terminate at count i + 2, odd rows are truncated at the horizon of 5.

    policy: count, a number drawn at the row's reset, the last action.  critic: ten times the count.
    The reward is the sum of the action.
    """

    spec = TaskSpec(
        name="toy",
        control_dt=0.02,
        horizon=5,
        obs={
            "policy": ObsGroup.of(ObsTerm("count", 1), ObsTerm("draw", 1), ObsTerm("action", 2)),
            "critic": ObsGroup.of(ObsTerm("count", 1)),
        },
        action=ActionSpec(names=("a", "b"), low=-1.0, high=1.0),
        success_metric="success",
    )

    def __init__(self, rows: int = 3, seed: int = 0) -> None:
        self.num_rows, self.device, self.autoreset, self.closed = rows, torch.device("cpu"), True, False
        self.generator = torch.Generator().manual_seed(seed)
        self.episode_length = torch.zeros(rows, dtype=torch.long)
        self.total, self.draw, self.action = torch.zeros(rows), torch.zeros(rows), torch.zeros(rows, 2)
        self.limit = torch.tensor([row + 2 if row % 2 == 0 else 10**6 for row in range(rows)])

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:
            self.generator.manual_seed(seed)
        return self.reset_rows(torch.ones(self.num_rows, dtype=torch.bool), {})

    def reset_rows(self, mask: Tensor, obs: Obs) -> Obs:
        del obs  # the other rows observe what they did before
        self.episode_length[mask], self.total[mask], self.action[mask] = 0, 0.0, 0.0
        self.draw[mask] = torch.rand(int(mask.sum()), generator=self.generator)
        return self._observe()

    def _observe(self) -> Obs:
        count = self.episode_length.float()[:, None]
        return {"policy": torch.cat([count, self.draw[:, None], self.action], -1), "critic": 10 * count}

    def step(self, action: Tensor) -> StepResult:
        assert action.shape == (self.num_rows, 1, 2)
        self.action = action[:, 0].clamp(-1, 1)
        self.episode_length += 1
        reward = self.action.sum(-1)
        self.total += reward
        terminated = self.episode_length >= self.limit
        truncated = (self.episode_length >= 5) & ~terminated
        final, done = self._observe(), terminated | truncated
        metrics = {"return": self.total.clone(), "length": self.episode_length.float(), "success": terminated.float()}
        obs = self.reset_rows(done, final) if self.autoreset and bool(done.any()) else final
        return StepResult(obs, reward, terminated, truncated, final, metrics if bool(done.any()) else {})

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        del state

    def render(self, row: int = 0) -> np.ndarray:
        return np.full((4, 6, 3), row, np.uint8)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def toy() -> Callable[..., Toy]:
    return Toy
