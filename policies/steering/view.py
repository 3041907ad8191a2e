"""A task as a frozen policy sees it: observations standardised by the normaliser that it was trained with.

Legend: B rows; H action chunk; A action size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodied.types import Obs, StepResult, TaskSpec, VecEnv


class StandardisedVecEnv:
    """A :class:`embodied.types.VecEnv` around another one, whose learner need not standardise anything.

    normalizer: an ``ObsNormalizer``, which stays as it is; None: observations are handed on as they are.
    discount: of the rewards within a chunk, see ``envs.chunking``; 1 where the task knows of none.
    """

    def __init__(self, env: VecEnv, normalizer: nn.Module | None = None) -> None:
        self.env, self.normalizer = env, normalizer
        self.num_rows, self.device = env.num_rows, env.device
        self.spec = standardised_spec(env.spec)
        self._obs: Obs = {}

    @property
    def discount(self) -> float:
        return getattr(self.env, "discount", 1.0)

    @discount.setter
    def discount(self, value: float) -> None:
        self.env.discount = value  # type: ignore[attr-defined]

    def reset(self, seed: int | None = None) -> Obs:
        """Start every row afresh."""
        self._obs = self._seen(self.env.reset(seed))
        return self._obs

    def step(self, action: Tensor) -> StepResult:
        """Execute actions (B, H, A) in policy units."""
        result = self.env.step(action)
        self._obs = self._seen(result.obs)
        return dataclasses.replace(result, obs=self._obs, final_obs=self._seen(result.final_obs))

    @torch.no_grad()
    def _seen(self, obs: Obs) -> Obs:
        return obs if self.normalizer is None else self.normalizer(obs)

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact continuation needs."""
        return {"env": self.env.state_dict(), "obs": {name: x.clone() for name, x in self._obs.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.env.load_state_dict(state["env"])
        self._obs = {name: x.to(self.device) for name, x in state["obs"].items()}

    def render(self, row: int = 0) -> np.ndarray:
        """RGB frame of one row, (height, width, 3) uint8."""
        return self.env.render(row)

    def close(self) -> None:
        """Close the task."""
        self.env.close()


def standardised_spec(spec: TaskSpec) -> TaskSpec:
    """The specification of a task that no learner is to standardise again."""
    obs = {name: dataclasses.replace(group, normalize=False) for name, group in spec.obs.items()}
    return dataclasses.replace(spec, obs=obs)
