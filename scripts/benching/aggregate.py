"""What several seeds of several methods say together: pure functions of numbers.

Legend: S seeds; P points of a learning curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.statistics import Array, iqm

PARTS = ("collect", "decide", "update")


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
    """Wall time in seconds, split into ``simulate``, ``denoise`` (the policy acts) and ``update``."""
    collect, denoise, update = np.sum([[r[f"{part}_seconds"] for part in PARTS] for r in records], axis=0)
    return {"simulate": float(collect - denoise), "denoise": float(denoise), "update": float(update)}
