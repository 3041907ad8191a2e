"""Tiny environments in plain torch; each is a whole ``VecEnv`` and poses one question to a learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.types import ActionSpec, Mirror, Obs, ObsGroup, ObsTerm, StepResult, Symmetry, TaskSpec


def spec_of(name: str, policy: int, action: int, horizon: int, critic: int = 0, **more: Any) -> TaskSpec:
    """A task specification of plain vectors."""
    obs = {"policy": ObsGroup.of(ObsTerm("x", policy))}
    if critic:
        obs["critic"] = ObsGroup.of(ObsTerm("x", critic))
    names = tuple(f"a{i}" for i in range(action))
    return TaskSpec(name=name, control_dt=0.1, horizon=horizon, obs=obs, action=ActionSpec(names), **more)


class TinyEnv:
    """B rows with a state ``x`` (B, D) and a clock; subclasses say how a row starts, moves, pays and looks."""

    spec: TaskSpec

    def __init__(self, rows: int, dim: int, seed: int = 0) -> None:
        self.num_rows = rows
        self.device = torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)
        self.x = torch.zeros(rows, dim)
        self.clock = torch.zeros(rows, dtype=torch.long)
        self.total = torch.zeros(rows)

    def begin(self, rows: int) -> Tensor:
        """Initial states (rows, D)."""
        raise NotImplementedError

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Advance ``x``; returns reward (B,) and terminated (B,)."""
        raise NotImplementedError

    def observe(self) -> Obs:
        """Fresh tensors."""
        return {"policy": self.x.clone()}

    def reset(self, seed: int | None = None) -> Obs:
        if seed is not None:
            self.generator.manual_seed(seed)
        self._start(torch.arange(self.num_rows))
        return self.observe()

    def _start(self, rows: Tensor) -> None:
        self.x[rows] = self.begin(len(rows))
        self.clock[rows] = 0
        self.total[rows] = 0

    def step(self, action: Tensor) -> StepResult:
        assert action.shape == (self.num_rows, self.spec.action.chunk, self.spec.action.size)
        reward, terminated = self.move(action[:, 0])
        self.clock += 1
        self.total += reward
        truncated = (self.clock >= self.spec.horizon) & ~terminated
        final_obs = self.observe()
        done = terminated | truncated
        metrics = {"return": self.total.clone(), "length": self.clock.float(), "success": (~terminated).float()}
        self._start(done.nonzero().squeeze(-1))
        return StepResult(self.observe(), reward, terminated, truncated, final_obs, metrics)

    def state_dict(self) -> dict[str, Any]:
        names = ("x", "clock", "total")
        return {n: getattr(self, n).clone() for n in names} | {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in ("x", "clock", "total"):
            getattr(self, name).copy_(state[name])
        self.generator.set_state(state["generator"])

    def render(self, row: int = 0) -> np.ndarray:
        return np.zeros((8, 8, 3), dtype=np.uint8)

    def close(self) -> None:
        pass


class PointMass(TinyEnv):
    """A point in the plane is to go to the origin; it pays minus the distance. Mirror-symmetric in the first axis.

    The critic also sees the clock. Leaving the square of half-width 3 terminates.
    """

    def __init__(self, rows: int = 64, horizon: int = 16, seed: int = 0) -> None:
        super().__init__(rows, 2, seed)
        mirror = Mirror((0, 1), (-1.0, 1.0))
        symmetry = Symmetry({"policy": mirror, "critic": Mirror((0, 1, 2), (-1.0, 1.0, 1.0))}, mirror)
        self.spec = spec_of("point", 2, 2, horizon, critic=3, symmetry=symmetry, success_metric="success")

    def begin(self, rows: int) -> Tensor:
        return 2 * torch.rand(rows, 2, generator=self.generator) - 1

    def observe(self) -> Obs:
        time = (self.clock.float() / self.spec.horizon).unsqueeze(-1)
        return {"policy": self.x.clone(), "critic": torch.cat([self.x, time], -1)}

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        self.x += 0.3 * action.clamp(-1, 1)
        return -self.x.norm(dim=-1), self.x.abs().amax(-1) > 3


class Recall(TinyEnv):
    """A sign is shown at the first step only and is to be repeated at the last: it pays for memory alone."""

    def __init__(self, rows: int = 64, horizon: int = 5, seed: int = 0) -> None:
        super().__init__(rows, 1, seed)
        self.spec = spec_of("recall", 2, 1, horizon, critic=2)

    def begin(self, rows: int) -> Tensor:
        return 2.0 * torch.randint(0, 2, (rows, 1), generator=self.generator) - 1.0

    def observe(self) -> Obs:
        last = (self.clock == self.spec.horizon - 1).float().unsqueeze(-1)
        shown = torch.where(self.clock.unsqueeze(-1) == 0, self.x, 0.0)
        return {"policy": torch.cat([shown, last], -1), "critic": torch.cat([self.x, last], -1)}

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        last = self.clock == self.spec.horizon - 1
        reward = torch.where(last, 1 - (action - self.x).abs().squeeze(-1).clamp(max=2), 0.0)
        return reward, torch.zeros(self.num_rows, dtype=torch.bool)


class Endless(TinyEnv):
    """Pays 1 a step for ever, cut into short episodes: with discount g every state is worth 1 / (1 - g)."""

    def __init__(self, rows: int = 32, horizon: int = 4, seed: int = 0) -> None:
        super().__init__(rows, 1, seed)
        self.spec = spec_of("endless", 1, 1, horizon)

    def begin(self, rows: int) -> Tensor:
        return torch.rand(rows, 1, generator=self.generator)

    def move(self, action: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(self.num_rows), torch.zeros(self.num_rows, dtype=torch.bool)
