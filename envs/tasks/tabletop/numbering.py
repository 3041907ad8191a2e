"""Which episode a world plays next: a function of the seed, the world and how many it has begun.

Legend: N worlds; G neighbouring worlds that share their episodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .stream import mixed

FIRST_DRAWN = 1 << 32
"""Numbers below are for evaluations; training draws from here to 2^62."""


class Numbering:
    """Counts the episodes that each world begins; see :class:`config.TabletopConfig` for ``episodes`` and ``group``."""

    def __init__(self, num_worlds: int, episodes: int, group: int, seed: int) -> None:
        if num_worlds % group:
            raise ValueError(f"task.group={group}: {num_worlds} worlds do not divide by it")
        self._worlds, self._episodes, self._group = num_worlds, episodes, group
        self.seed = seed
        self.begun = np.zeros(num_worlds, dtype=np.int64)

    def restart(self, seed: int) -> None:
        """Begin anew with this seed."""
        self.seed, self.begun[:] = seed, 0

    def next(self, world: int) -> int:
        """The number of this world's next episode."""
        turn, place = int(self.begun[world]), world // self._group
        self.begun[world] += 1
        if self._episodes:
            return self.seed * self._episodes + turn * (self._worlds // self._group) + place
        return FIRST_DRAWN + mixed(self.seed, place, turn) % ((1 << 62) - FIRST_DRAWN)

    def state_dict(self) -> dict[str, Any]:
        """For a bit-exact continuation."""
        return {"seed": self.seed, "begun": self.begun.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.seed, self.begun[:] = state["seed"], state["begun"]
