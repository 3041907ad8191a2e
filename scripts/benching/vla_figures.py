"""From outcomes of episodes to the benchmark's figures: pure functions of plain numbers.

A result is what :func:`vla_row.measure` returns of one policy on one row. Success is success at the end unless it says
``once``. Legend: E episodes of a row; R rows of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from embodied.statistics import Array, Statistic, bootstrap, holm, mcnemar, wilson
from envs.tasks.tabletop.rows import AXES, ROWS

from .vla_row import OUTCOMES, SUCCESS

Result = Mapping[str, Any]
ByRow = Mapping[str, Result]
Figure = dict[str, Any]
"""A number with its interval: mean, low, high, n; null where nothing can be said."""
IN_DISTRIBUTION, *SHIFTED = AXES
CURVES = {"texture on arm and objects": "things", "noise on the whole image": "all"}
"""Name of a curve -> the overlay of the rows that it goes through."""


def success(result: Result) -> Array:
    """(E,) of 0 and 1."""
    return np.array([outcome == SUCCESS for outcome in result["outcome"]], dtype=np.float64)


def proportion(hits: Sequence[Any] | Array, level: float) -> Figure:
    """The share of hits with Wilson's interval."""
    n, k = len(hits), float(sum(hits))
    if not n:
        return {"mean": None, "low": None, "high": None, "n": 0}
    low, high = wilson(k, n, level)
    return {"mean": k / n, "low": low, "high": high, "n": n}


def row_figures(result: Result, level: float) -> dict[str, Any]:
    """Both successes, what the episodes came to, and every outcome in order, one digit each, to test again."""
    return {
        "success_at_end": proportion(success(result), level),
        "success_once": proportion(result["success_once"], level),
        "outcomes": {name: result["outcome"].count(name) for name in OUTCOMES},
        "episodes": "".join(str(OUTCOMES.index(name)) for name in result["outcome"]),
    }


# Axes ---------------------------------------------------------------------------------------------------------------


def rows_of(axis: str, results: ByRow) -> list[str]:
    """The rows of an axis that were played."""
    return [row for row in results if ROWS[row].axis == axis]


def axis_figures(results: ByRow, level: float, resamples: int) -> dict[str, dict[str, Any]]:
    """Axis -> the mean over its rows and its retention, each with a bootstrap interval over episodes, row by row.

    The interval of a single row is Wilson's: without one success, or one failure, nothing could be drawn anew.
    """
    found = {}
    for axis in AXES:
        strata = [success(results[row]) for row in rows_of(axis, results)]
        if not strata:
            continue
        alone = len(strata) == 1
        figure = proportion(strata[0], level) if alone else _bootstrapped(mean_of_means, strata, level, resamples)
        found[axis] = {"success": figure, "rows": len(strata)}
        if axis != IN_DISTRIBUTION and IN_DISTRIBUTION in results:
            known = success(results[IN_DISTRIBUTION])
            found[axis]["retention"] = _bootstrapped(retention, [known, *strata], level, resamples)
    return found


def mean_of_means(strata: Sequence[Array]) -> Array:
    """The mean over R rows (..., E) of their means: rows count alike."""
    return np.mean([x.mean(-1) for x in strata], axis=0)


def retention(strata: Sequence[Array]) -> Array:
    """The mean over an axis as a share of the success in distribution, which comes first; nan if that is 0."""
    known, shifted = strata[0].mean(-1), mean_of_means(strata[1:])
    return np.divide(shifted, known, out=np.full_like(known, np.nan), where=known > 0)


def _bootstrapped(statistic: Statistic, strata: Sequence[Array], level: float, resamples: int) -> Figure:
    found = bootstrap(statistic, strata, level, resamples)
    n = sum(len(x) for x in strata)
    return {"mean": known(found.point), "low": known(found.low), "high": known(found.high), "n": n}


def known(x: float) -> float | None:
    """What JSON can say."""
    return x if math.isfinite(x) else None


def robustness(results: ByRow, level: float) -> dict[str, list[tuple[float, Figure]]]:
    """Curve -> success against the strength of what is blended over the image; 0: in distribution."""
    curves = {}
    for name, overlay in CURVES.items():
        points = [(row.strength, key) for key, row in ROWS.items() if row.overlay == overlay and key in results]
        if points and IN_DISTRIBUTION in results:
            chosen = [(0.0, IN_DISTRIBUTION), *sorted(points)]
            curves[name] = [(strength, proportion(success(results[row]), level)) for strength, row in chosen]
    return curves


# Language -----------------------------------------------------------------------------------------------------------


def following(results: ByRow, level: float) -> dict[str, Figure]:
    """Of all episodes with two objects: in how many the first object taken was the one named.

    followed: of all of them.  followed_of_taken: of those in which one was taken.
    """
    seen = [
        followed
        for result in results.values()
        for followed, two in zip(result["followed"], result["two_objects"], strict=True)
        if two
    ]
    return {
        "followed": proportion([x == 1 for x in seen], level),
        "followed_of_taken": proportion([x for x in seen if x is not None], level),
    }


def swapping(result: Result, swapped: Result, level: float) -> dict[str, Figure]:
    """The same episodes with the other object named: whether the words decide which one is taken first.

    followed: in how many with two objects the one that is now named was taken.  changed: of those in which an object
    was taken both times, in how many it was another.
    """
    _check_paired(result, swapped)
    pairs = [
        (before, after)
        for before, after, two in zip(result["followed"], swapped["followed"], result["two_objects"], strict=True)
        if two
    ]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return {
        "followed": proportion([after == 0 for _, after in pairs], level),
        "changed": proportion([a != b for a, b in both], level),
    }


# Comparisons --------------------------------------------------------------------------------------------------------


def comparisons(
    results: Mapping[str, ByRow], pairs: Iterable[tuple[str, str]], level: float, resamples: int
) -> list[dict[str, Any]]:
    """Pairs of policies on every row that both played, and on the rows of every shifted axis together.

    The same episodes are paired. p: McNemar's exact test.  p_holm: adjusted for all rows (of all pairs of policies), or
    for all axes.  difference: first - second, with a bootstrap interval over episodes.
    """
    rows, axes = [], []
    for first, second in pairs:
        shared = [row for row in results[first] if row in results[second]]
        by_axis = {axis: [row for row in shared if ROWS[row].axis == axis] for axis in SHIFTED}

        def compare(chosen: Sequence[str], first: str = first, second: str = second) -> dict[str, Any]:
            return compared(results[first], results[second], chosen, level, resamples)

        names = {"first": first, "second": second}
        rows += [{**names, "row": row, **compare([row])} for row in shared]
        axes += [{**names, "axis": axis, **compare(chosen)} for axis, chosen in by_axis.items() if chosen]
    for family in (rows, axes):
        for entry, adjusted in zip(family, holm([entry["p"] for entry in family]), strict=True):
            entry["p_holm"] = adjusted
    return rows + axes


def compared(first: ByRow, second: ByRow, rows: Sequence[str], level: float, resamples: int) -> dict[str, Any]:
    """Two policies on some rows together; see :func:`comparisons`."""
    for row in rows:
        _check_paired(first[row], second[row])
    gained = [success(first[row]) - success(second[row]) for row in rows]
    together = np.concatenate(gained)
    won, lost = int((together > 0).sum()), int((together < 0).sum())
    difference = _bootstrapped(mean_of_means, gained, level, resamples)
    return {"difference": difference, "only_first": won, "only_second": lost, "p": mcnemar(won, lost)}


def _check_paired(first: Result, second: Result) -> None:
    if first["numbers"] != second["numbers"]:
        raise ValueError(f"row {first['row']}: the policies played different episodes, which cannot be paired")


# Time ---------------------------------------------------------------------------------------------------------------


def latency(results: ByRow) -> dict[str, Any]:
    """Of single decisions over all rows: median and 95th percentile in milliseconds."""
    times = np.concatenate([result["latency_ms"] for result in results.values()])
    return {"median_ms": float(np.median(times)), "p95_ms": float(np.percentile(times, 95)), "n": len(times)}


# All of a policy ----------------------------------------------------------------------------------------------------


def policy_figures(results: ByRow, swapped: Result | None, level: float, resamples: int) -> dict[str, Any]:
    """Everything that is said of one policy, as plain JSON types."""
    language = following(results, level)
    if swapped is not None and swapped["row"] in results:
        paired = swapping(results[swapped["row"]], swapped, level)
        language |= {f"swapped_{name}": figure for name, figure in paired.items()}
    return {
        "rows": {row: row_figures(result, level) for row, result in results.items()},
        "axes": axis_figures(results, level, resamples),
        "robustness": robustness(results, level),
        "language": language,
        "latency": latency(results),
    }
