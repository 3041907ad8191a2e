"""Intervals: pure functions of plain numbers.

Interquartile mean and stratified bootstrap: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021, sections 4.1 and 4.3. Legend: S seeds; R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Array = np.ndarray
Statistic = Callable[[Sequence[Array]], Array]
"""From strata (..., S_i) to a number per leading index (...)."""


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), never outside [0, 1].

    Raises:
        ValueError: n < 1 or successes outside [0, n].
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, not {successes} of {n}")
    z = float(stats.norm.ppf(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half if successes else 0.0, centre + half if successes < n else 1.0  # which rounding would miss


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean; a single value gives no width.

    Raises:
        ValueError: no values.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise ValueError("no values")
    mean = float(x.mean())
    if x.size == 1:
        return mean, mean
    half = float(stats.t.ppf(0.5 + level / 2, x.size - 1)) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return mean - half, mean + half


@dataclass(frozen=True)
class Interval:
    """A number and where it may lie; low and high are nan where nothing can be said."""

    point: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite([self.point, self.low, self.high]).all())


def iqm(x: Array) -> Array:
    """Mean of the middle half of (..., S) along the last axis: floor(S/4) values are left out at either end."""
    ordered = np.sort(np.asarray(x, dtype=np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


def bootstrap(
    statistic: Statistic, strata: Sequence[Array], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of a statistic whose strata (S_i,) are drawn anew, each from itself.

    A stratum of one seed has nothing to draw from: the interval is unknown then, not of width 0.
    """
    rng = np.random.default_rng(seed)
    strata = [np.asarray(x, dtype=np.float64) for x in strata]
    point = float(statistic(strata))
    if min(x.size for x in strata) < 2:
        return Interval(point, float("nan"), float("nan"))
    drawn = [x[rng.integers(x.size, size=(resamples, x.size))] for x in strata]
    low, high = np.quantile(statistic(drawn), [0.5 - level / 2, 0.5 + level / 2])
    return Interval(point, float(low), float(high))


# Paired proportions -------------------------------------------------------------------------------------------------


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test (McNemar 1947): whether two paired proportions are equal.

    Of the pairs in which exactly one of the two succeeded, each is the first's with probability 1/2 if they are. The
    binomial distribution is symmetric then, so twice the smaller tail is exact.

    Args:
        only_first, only_second: how many pairs the one won and the other did not.

    Raises:
        ValueError: a negative number.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"need numbers of pairs, not {only_first} and {only_second}")
    tail = stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return min(1.0, 2.0 * float(tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's step-down method (Holm 1979): below a level, they are significant together at it.

    The i-th smallest of m, counted from 0, counts m - i times, and none less than a smaller one.
    """
    order = np.argsort(p_values, kind="stable")
    counted = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(counted), 1.0)
    return adjusted.tolist()
