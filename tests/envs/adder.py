"""A task whose every number can be worked out by hand, and its decisions simulated by plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.types import ActionSpec, Mirror, Obs, ObsGroup, ObsTerm, StepResult, Symmetry, TaskSpec

LIMIT, HORIZON = 10.0, 7


class Adder:
    """Row i adds its actions to x, which starts its e-th episode (from 1) at i + e / 8, and is paid x.

    Reaching 10 terminates, 7 steps truncate. policy: x and the steps so far; critic: 100 x.
    """

    def __init__(self, rows: int = 3) -> None:
        mirror = Mirror((0, 1), (-1.0, 1.0))
        self.spec = TaskSpec(
            "adder",
            control_dt=0.1,
            horizon=HORIZON,
            obs={"policy": ObsGroup.of(ObsTerm("x", 1), ObsTerm("steps", 1)), "critic": ObsGroup.of(ObsTerm("x", 1))},
            action=ActionSpec(("push",), low=-3.0, high=3.0),
            success_metric="success",
            symmetry=Symmetry({"policy": mirror, "critic": Mirror((0,), (-1.0,))}, Mirror((0,), (-1.0,))),
        )
        self.num_rows, self.device, self.autoreset = rows, torch.device("cpu"), True
        self.x, self.total, self.closed = torch.zeros(rows), torch.zeros(rows), False
        self.steps, self.episode = torch.zeros(rows, dtype=torch.long), torch.zeros(rows, dtype=torch.long)

    def reset(self, seed: int | None = None) -> Obs:
        self.episode.zero_()
        return self.reset_rows(torch.ones(self.num_rows, dtype=torch.bool), self.observe())

    def reset_rows(self, mask: Tensor, obs: Obs) -> Obs:
        self.episode[mask] += 1
        self.x[mask] = start(torch.arange(self.num_rows), self.episode)[mask]
        self.steps[mask], self.total[mask] = 0, 0.0
        return {name: torch.where(mask.unsqueeze(-1), new, obs[name]) for name, new in self.observe().items()}

    def observe(self) -> Obs:
        return {"policy": torch.stack([self.x, self.steps.float()], -1), "critic": 100 * self.x.unsqueeze(-1)}

    def step(self, action: Tensor) -> StepResult:
        assert action.shape == (self.num_rows, 1, 1)
        self.x = self.x + action[:, 0, 0]
        self.steps += 1
        self.total = self.total + self.x
        terminated = self.x >= LIMIT
        truncated = (self.steps >= HORIZON) & ~terminated
        final, done = self.observe(), terminated | truncated
        figures = {"return": self.total.clone(), "length": self.steps.float(), "success": terminated.float()}
        obs = self.reset_rows(done, final) if self.autoreset else final
        metrics = figures if bool(done.any()) else {}
        return StepResult(obs, final["policy"][:, 0], terminated, truncated, final, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).clone() for name in ("x", "total", "steps", "episode")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)

    def render(self, row: int = 0, *, width: int = 4) -> np.ndarray:
        return np.full((2, width, 3), row, np.uint8)

    def close(self) -> None:
        self.closed = True


def start(row: Any, episode: Any) -> Any:
    return row + episode / 8


class Scalar:
    """One row of a chunked Adder in plain Python, written from the description and sharing no code with it."""

    def __init__(self, row: int, history: int, discount: float) -> None:
        self.row, self.history, self.discount, self.episode = row, history, discount, 0
        self.begin()

    def begin(self) -> None:
        self.episode += 1
        self.x, self.rewards = self.row + self.episode / 8, list[float]()
        self.seen = [(self.x, 0.0)] * self.history

    def decide(self, actions: list[float]) -> dict[str, Any]:
        reward, ended = 0.0, ""
        for i, action in enumerate(actions):
            if not ended:
                self.x += action
                self.rewards.append(self.x)
                self.seen = [*self.seen[1:], (self.x, float(len(self.rewards)))]
                reward += self.discount**i * self.x
                ended = "terminated" if self.x >= 10 else "truncated" if len(self.rewards) == 7 else ""
        out = {"reward": reward, "ended": ended, "final": list(self.seen), "critic": 100 * self.x}
        out |= {"return": sum(self.rewards), "length": len(self.rewards)}
        if ended:
            self.begin()
        return out | {"obs": list(self.seen)}
