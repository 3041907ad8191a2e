"""What several seeds of several methods say together: pure functions of numbers.

Interquartile mean and stratified bootstrap: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", NeurIPS 2021, sections 4.1 and 4.3.

Legend: S seeds; R resamples; P points of a learning curve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Statistic = Callable[[Sequence[Array]], Array]
"""From strata (..., S_i) to a number per leading index (...)."""


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


def ratio(strata: Sequence[Array]) -> Array:
    """Mean over tasks of IQM / IQM; strata: ours, theirs, ours, theirs, ...; nan where theirs is not above 0."""
    quotients = []
    for ours, theirs in zip(strata[::2], strata[1::2], strict=True):
        base = iqm(theirs)
        quotients.append(np.divide(iqm(ours), base, out=np.full_like(base, np.nan), where=base > 0))
    return np.mean(quotients, axis=0)


def difference(strata: Sequence[Array]) -> Array:
    """Mean over tasks of IQM - IQM; strata as in :func:`ratio`."""
    return np.mean([iqm(a) - iqm(b) for a, b in zip(strata[::2], strata[1::2], strict=True)], axis=0)


def spread(strata: Sequence[Array], methods: int) -> Array:
    """Mean over tasks of (highest - lowest) / highest IQM; strata: every method of a task, then those of the next."""
    values = np.stack([iqm(x) for x in strata])
    values = values.reshape(-1, methods, *values.shape[1:])
    high, low = values.max(1), values.min(1)
    return np.divide(high - low, high, out=np.full_like(high, np.nan), where=high > 0).mean(0)


# Learning curves ---------------------------------------------------------------------------------------------------


def area(steps: Array, values: Array, budget: float) -> float:
    """Mean height of a curve (P,) from step 0 to the budget: linear between points, flat before and after them.

    Raises:
        ValueError: no points.
    """
    if len(steps) == 0:
        raise ValueError("a learning curve needs at least one point")
    inside = np.asarray(steps)[(np.asarray(steps) > 0) & (np.asarray(steps) < budget)]
    grid = np.concatenate([[0.0], inside, [float(budget)]])
    return float(np.trapezoid(np.interp(grid, steps, values), grid) / budget)


def steps_to(steps: Array, values: Array, threshold: float, budget: float) -> float:
    """Where a curve (P,) first reaches a threshold, linear between its points; the budget if it never does.

    A run that does not get there thus counts as if it had at the end: differences between methods come out smaller than
    they are, never larger.
    """
    reached = np.flatnonzero(np.asarray(values) >= threshold)
    if not len(reached):
        return float(budget)
    i = int(reached[0])
    if i == 0:
        return float(min(steps[0], budget))
    share = (threshold - values[i - 1]) / (values[i] - values[i - 1])
    return float(min(steps[i - 1] + share * (steps[i] - steps[i - 1]), budget))


def curve_of(records: Iterable[Mapping[str, Any]], key: str) -> tuple[Array, Array]:
    """(steps (P,), values (P,)) of one figure in ``metrics.jsonl``; records without it are left out."""
    points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
    steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def seconds_of(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Wall time in seconds, split into collecting (simulation and sampling of actions) and updating."""
    records = list(records)
    return {part: float(sum(r[f"{part}_seconds"] for r in records)) for part in ("collect", "update")}
