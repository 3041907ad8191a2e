"""Random numbers that are a pure function of a key: Philox 4x64, counter-based (Salmon et al. 2011, section 3).

Only raw 64-bit words are taken from numpy, and everything is made of them by whole numbers and one multiplication, so
that an episode is the same on every machine and with every version of numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Stream:
    """The draws of one key, two whole numbers below 2^64, one after the other."""

    def __init__(self, first: int, second: int) -> None:
        self._philox = np.random.Philox(key=np.array([first & _MASK, second & _MASK], dtype=np.uint64))
        self._words: list[int] = []

    def word(self) -> int:
        """64 random bits as a whole number."""
        if not self._words:
            self._words = self._philox.random_raw(32)[::-1].tolist()
        return self._words.pop()

    def below(self, bound: int) -> int:
        """One of 0 ... bound - 1; uneven by less than bound / 2^64."""
        return self.word() % bound

    def unit(self) -> float:
        """U[0, 1), a multiple of 2^-53."""
        return (self.word() >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """U[low, high), rounded to 1e-6, far below what a camera or a simulation shows."""
        return round(low + (high - low) * self.unit(), 6)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]


def mixed(*numbers: int) -> int:
    """64 bits that depend on every one of these numbers: the finaliser of SplitMix64 (Steele et al. 2014), chained."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state
