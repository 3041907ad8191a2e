"""Observations of rollouts with their episode starts: the yardstick of every comparison. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Recording:
    """T steps of R rows. obs: (T, R, n) float32, as the environment hands them out, before any standardisation.

    start: (T, R) bool, the row's episode begins with this observation, so its memory is zero before it.
    """

    obs: NDArray[np.float32]
    start: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.obs.ndim != 3 or self.obs.shape[:2] != self.start.shape or not self.start[:1].all():
            raise ValueError(f"no recording: obs {self.obs.shape}, start {self.start.shape}; step 0 must be a start")
        if not np.isfinite(self.obs).all():
            raise ValueError("no recording: it holds values that are not finite")

    @property
    def count(self) -> int:
        """Observations in all."""
        return self.obs.shape[0] * self.obs.shape[1]

    def flat(self) -> Recording:
        """Every observation as an episode's first; the right view for a policy without memory."""
        obs = self.obs.reshape(1, self.count, -1)
        return Recording(obs, np.ones(obs.shape[:2], bool))

    def spread(self, rows: int) -> Recording:
        """``rows`` of the rows, evenly spread; all of them if there are fewer."""
        index = np.unique(np.linspace(0, self.obs.shape[1] - 1, rows).round().astype(int))
        return Recording(self.obs[:, index], self.start[:, index])

    def first(self, steps: int) -> Recording:
        """The first steps."""
        return Recording(self.obs[:steps], self.start[:steps])
