"""Learning-rate schedules: pure functions."""

from __future__ import annotations

import math

SCHEDULES = ("adaptive", "linear", "constant")


def adaptive_rate(
    rate: float, kl: float, desired_kl: float, low: float = 1e-5, high: float = 1e-2, factor: float = 1.5
) -> float:
    """The next learning rate given the KL divergence that the last ones led to (rsl_rl's rule).

    More than twice the desired KL: divided by ``factor``; less than half of it: multiplied; kept within limits.
    """
    if kl > 2.0 * desired_kl:
        return max(low, rate / factor)
    if kl < 0.5 * desired_kl:
        return min(high, rate * factor)
    return rate


def linear_rate(initial: float, progress: float) -> float:
    """From ``initial`` down to 0 as ``progress`` goes from 0 to 1."""
    return initial * max(0.0, 1.0 - progress)


def cosine_rate(initial: float, final: float, progress: float) -> float:
    """From ``initial`` to ``final`` along half a cosine as ``progress`` goes from 0 to 1."""
    return final + 0.5 * (initial - final) * (1.0 + math.cos(math.pi * min(1.0, progress)))
