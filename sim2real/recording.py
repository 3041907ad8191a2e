"""Observations of rollouts with their episode starts: the yardstick of every comparison. NumPy only.

Legend: T decisions of R rows; L observations of a history; n size of one; D noise tensors; H action chunk; A action
size; h, w pixels; b bytes of an instruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Recording:
    """T decisions of R rows. obs: (T, R, L, n) float32, as the environment hands them out, not standardised.

    start: (T, R) bool, the row's episode begins with this decision, so its memory is zero before it.
    noise: (T, R, D, H, A) float32, what the decisions are made with; None for a policy that takes none.
    image: (T, R, h, w, 3) uint8.  instruction: (T, R, b) uint8, UTF-8 filled up with zeros. None where there is none.
    """

    obs: NDArray[np.float32]
    start: NDArray[np.bool_]
    noise: NDArray[np.float32] | None = None
    image: NDArray[np.uint8] | None = None
    instruction: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.obs.ndim != 4 or self.obs.shape[:2] != self.start.shape or not self.start[:1].all():
            raise ValueError(f"no recording: obs {self.obs.shape}, start {self.start.shape}; step 0 must be a start")
        for name, x in self.optional().items():
            if x.shape[:2] != self.start.shape:
                raise ValueError(f"no recording: start {self.start.shape}, {name} {x.shape}")
        if not all(np.isfinite(x).all() for x in (self.obs, self.noise) if x is not None):
            raise ValueError("no recording: it holds values that are not finite")

    def optional(self) -> dict[str, NDArray[Any]]:
        """What there is of noise, image and instruction."""
        found = {name: getattr(self, name) for name in ("noise", "image", "instruction")}
        return {name: x for name, x in found.items() if x is not None}

    @property
    def count(self) -> int:
        """Decisions in all."""
        return self.start.size

    def fresh(self) -> Recording:
        """Every decision as an episode's first; the right view for a policy without memory."""
        return dataclasses.replace(self, start=np.ones_like(self.start))

    def flat(self) -> Recording:
        """The same in one step of as many rows as there are decisions."""
        return self.fresh()._each(lambda x: x.reshape(1, self.count, *x.shape[2:]))

    def spread(self, rows: int) -> Recording:
        """``rows`` of the rows, evenly spread; all of them if there are fewer."""
        return self.take(np.unique(np.linspace(0, self.start.shape[1] - 1, rows).round().astype(int)))

    def take(self, rows: NDArray[np.integer[Any]]) -> Recording:
        """The rows of these numbers."""
        return self._each(lambda x: x[:, rows])

    def rows(self, first: int, count: int = 1) -> Recording:
        """``count`` rows from the ``first`` on."""
        return self._each(lambda x: x[:, first : first + count])

    def first(self, steps: int) -> Recording:
        """The first decisions of every row."""
        return self._each(lambda x: x[:steps])

    def with_noise(self, shape: tuple[int, ...], seed: int = 0) -> Recording:
        """With noise of this shape (D, H, A) for each decision: standard normal, and 0 in every other row, since both
        are in use.
        """
        noise = np.random.default_rng(seed).standard_normal((*self.start.shape, *shape), dtype=np.float32)
        noise[:, 1::2] = 0.0
        return dataclasses.replace(self, noise=noise)

    def _each(self, change: Callable[[NDArray], NDArray]) -> Recording:
        changed = {name: change(x) for name, x in self.optional().items()}
        return Recording(change(self.obs), change(self.start), **changed)
