"""Published claims, held against the numbers: each holds, does not hold, is not decided, or was not measured.

Sources: C1-C3 NCDPO (arXiv 2505.10482, abstract), C4 and C5 ReinFlow (Zhang et al., NeurIPS 2025, abstract). P1 is our
own: what is tuned here against DPPO's published settings for Gym. A condition looks at the interval, not at the point
alone, wherever the claim is about one side of a number; P1, which asks to be no worse, looks at the point. A condition
also says what it is made of, task by task: where a claim does not hold, this shows which task it fails on, and by what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.statistics import Array, Interval, Statistic, bootstrap, iqm

from .aggregate import difference, ratio, spread
from .figures import Figures

HOLDS, FAILS, OPEN, UNKNOWN = "holds", "does not hold", "not decided", "not measured"
ROBUST = ("ncdpo_k5_scratch", "ncdpo_k10_scratch", "ncdpo_k20_scratch")
SPARSE = ("reinflow_k4", "ncdpo")
OURS = ("dppo_k20", "ncdpo", "reinflow_k4")
PUBLISHED = "dppo_published"
Bootstrap = Callable[[Statistic, Sequence[Array]], Interval]


@dataclass(frozen=True)
class Condition:
    """A number with its interval and whether it is as claimed.

    holds: None where nothing tells: a single seed, or runs of which none came to what is compared.
    made_of: the number's parts, task by task.
    """

    what: str
    value: Interval
    holds: bool | None
    made_of: str = ""


@dataclass(frozen=True)
class Verdict:
    """A claim, what it rests on, and what came out.

    tasks: those on which all that it needs was measured.  missing: what was not.
    """

    claim: str
    published: str
    asked: str
    conditions: tuple[Condition, ...] = ()
    tasks: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        """holds, does not hold, not decided or not measured."""
        told = [condition.holds for condition in self.conditions]
        if not told:
            return UNKNOWN
        if False in told:
            return FAILS
        return OPEN if None in told else HOLDS


def verdicts(figures: Figures, level: float, resamples: int) -> list[Verdict]:
    """All claims in order."""

    def boot(statistic: Statistic, strata: Sequence[Array]) -> Interval:
        return bootstrap(statistic, strata, level, resamples)

    return [claim(figures, boot) for claim in (from_scratch, robust, finetuning, reinflow, sparse, published)]


def from_scratch(figures: Figures, boot: Bootstrap) -> Verdict:
    """C1: the area under NCDPO's curve is that of a Gaussian perceptron; DPPO's is smaller."""
    tasks, missing = _measured(figures, "return", ("ncdpo_k5_scratch", "mlp_scratch", "dppo_k5_scratch"))
    conditions = []

    def by(method: str) -> str:
        return _by_task(tasks, lambda task: ratio(_pairs(figures, [task], "auc", method, "mlp_scratch")))

    if tasks:
        ours = boot(ratio, _pairs(figures, tasks, "auc", "ncdpo_k5_scratch", "mlp_scratch"))
        dppo = boot(ratio, _pairs(figures, tasks, "auc", "dppo_k5_scratch", "mlp_scratch"))
        conditions = [
            _condition("AUC ratio NCDPO / MLP: at least 0.9", ours, ours.point >= 0.9, by("ncdpo_k5_scratch")),
            _condition("its interval includes 1, or lies above it", ours, ours.high >= 1),
            _condition("AUC ratio DPPO / MLP: interval below 1", dppo, dppo.high < 1, by("dppo_k5_scratch")),
        ]
    asked = "AUC ratio >= 0.9, interval includes 1; DPPO below"
    return Verdict("C1 from scratch", "NCDPO = MLP + PPO", asked, tuple(conditions), tasks, missing)


def robust(figures: Figures, boot: Bootstrap) -> Verdict:
    """C2: the number of denoising steps hardly matters."""
    tasks, missing = _measured(figures, "return", ROBUST)
    conditions = []
    if tasks:
        strata = [figures.values(task, method, "deterministic") for task in tasks for method in ROBUST]
        found = boot(lambda x: spread(x, len(ROBUST)), strata)
        what = "spread of final returns over K = 5, 10, 20: at most 0.1"
        finals = _by_task(tasks, *(_final(figures, method) for method in ROBUST))
        conditions = [_condition(what, found, found.point <= 0.1, finals)]
    asked = "final return within 10 % for K 5-20"
    return Verdict("C2 robust to K", "yes", asked, tuple(conditions), tasks, missing)


def finetuning(figures: Figures, boot: Bootstrap) -> Verdict:
    """C3: NCDPO needs fewer steps than DPPO; not decided where no run of either gets to the threshold."""
    tasks, missing = _measured(figures, "return", ("ncdpo", "dppo_k20"))
    conditions = []
    if tasks:
        found = boot(difference, _pairs(figures, tasks, "to_threshold", "ncdpo", "dppo_k20"))
        reached = [_reached(figures, tasks, method) for method in ("ncdpo", "dppo_k20")]
        told = found.high < 0 if any(count for count, _ in reached) else None
        made_of = "reached in {} of {} runs by NCDPO, {} of {} by DPPO".format(*reached[0], *reached[1])
        conditions = [_condition("steps to threshold, NCDPO - DPPO: interval below 0", found, told, made_of)]
    asked = "fewer steps to threshold, interval excludes 0"
    return Verdict("C3 fine-tuning", "NCDPO > DPPO", asked, tuple(conditions), tasks, missing)


def reinflow(figures: Figures, boot: Bootstrap) -> Verdict:
    """C4: ReinFlow improves on what it starts from and spends less time on updates than DPPO."""
    tasks, missing = _measured(figures, "return", ("reinflow_k4", "dppo_k20"), starts=True)
    conditions = []
    if tasks:
        growth = boot(_growth(figures, tasks), [figures.values(task, "reinflow_k4", "deterministic") for task in tasks])
        times = boot(ratio, _pairs(figures, tasks, "update", "reinflow_k4", "dppo_k20"))
        saved = Interval(1 - times.point, 1 - times.high, 1 - times.low)
        grown = _by_task(tasks, lambda task: _cloned(figures, task, "reinflow_k4"), _final(figures, "reinflow_k4"))
        updates = [lambda task, m=m: iqm(figures.values(task, m, "update")) for m in ("reinflow_k4", "dppo_k20")]
        seconds = _by_task(tasks, *updates)
        conditions = [
            _condition("growth of the return over cloning's, a share: interval above 0", growth, growth.low > 0, grown),
            _condition("update time saved against DPPO K = 20: interval above 0", saved, saved.low > 0, seconds),
        ]
    asked = "growth of reward, saving of update time"
    return Verdict("C4 ReinFlow", "+135 % reward, -83 % time", asked, tuple(conditions), tasks, missing)


def sparse(figures: Figures, boot: Bootstrap) -> Verdict:
    """C5: from a success of 20-50 % by cloning, 40 points more; on each task, by each rule."""
    conditions, measured, missing = [], set(), list[str]()
    for method in SPARSE:
        tasks, lacking = _measured(figures, "success", (method,), starts=True)
        missing += lacking
        measured |= set(tasks)
        for task in tasks:
            cloned = _cloned(figures, task, method)
            final = boot(difference, [figures.values(task, method, "deterministic"), np.full(2, cloned)])
            at_start = Interval(cloned, cloned, cloned)
            conditions += [
                _condition(f"{task}, {method}: success of cloning in 0.2-0.5", at_start, 0.2 <= cloned <= 0.5),
                _condition(f"{task}, {method}: gain at least 0.4, interval above 0", final, _gained(final)),
            ]
    asked = ">= +40 points from BC at 20-50 %"
    tasks_of = tuple(task for task in figures.protocol.tasks if task in measured)
    return Verdict(
        "C5 sparse manipulation", "+40.34 points", asked, tuple(conditions), tasks_of, tuple(dict.fromkeys(missing))
    )


def published(figures: Figures, boot: Bootstrap) -> Verdict:
    """P1: at equal environment steps ours ends no lower than DPPO with its published settings, from the same clone."""
    conditions, measured, missing = [], set(), list[str]()
    for method in OURS:
        tasks, lacking = _measured(figures, "return", (method, PUBLISHED))
        missing += lacking
        measured |= set(tasks)
        if tasks:
            found = boot(difference, _pairs(figures, tasks, "deterministic", method, PUBLISHED))
            finals = _by_task(tasks, _final(figures, method), _final(figures, PUBLISHED))
            what = f"final return, {method} - published: at least 0"
            conditions.append(_condition(what, found, found.point >= 0, finals))
    tasks_of = tuple(task for task in figures.protocol.tasks if task in measured)
    asked = "at least as good at equal steps"
    return Verdict("P1 DPPO's own recipe", "-", asked, tuple(conditions), tasks_of, tuple(dict.fromkeys(missing)))


# Helpers -----------------------------------------------------------------------------------------------------------


def _gained(gain: Interval) -> bool:
    return gain.point >= 0.4 and gain.low > 0


def _growth(figures: Figures, tasks: Sequence[str]) -> Statistic:
    """Mean over tasks of (final - start) / |start|, of the IQM over seeds."""
    cloned = [np.full(2, _cloned(figures, task, "reinflow_k4")) for task in tasks]

    def growth(strata: Sequence[Array]) -> Array:
        shares = [difference([x, base]) / abs(base[0]) for x, base in zip(strata, cloned, strict=True)]
        return np.mean(shares, axis=0)

    return growth


def _condition(what: str, value: Interval, holds: bool | np.bool_ | None, made_of: str = "") -> Condition:
    return Condition(what, value, bool(holds) if value.known and holds is not None else None, made_of)


def _by_task(tasks: Iterable[str], *parts: Callable[[str], Any]) -> str:
    """``hopper 1.2; walker2d 0.9``; several parts of a task stand side by side, with slashes."""
    return "; ".join(f"{task} {' / '.join(f'{float(part(task)):.3g}' for part in parts)}" for task in tasks)


def _final(figures: Figures, method: str) -> Callable[[str], Any]:
    """A task's final figure, interquartile mean over seeds."""
    return lambda task: iqm(figures.values(task, method, "deterministic"))


def _cloned(figures: Figures, task: str, method: str) -> float:
    """The figure of what a method started from."""
    start = figures.start(task, method)
    assert start is not None
    return start.deterministic


def _reached(figures: Figures, tasks: Iterable[str], method: str) -> tuple[int, int]:
    """In how many runs of a method the threshold was reached, and of how many."""
    runs = [run for task in tasks for run in figures.runs[task, method]]
    return sum(run.reached for run in runs), len(runs)


def _pairs(figures: Figures, tasks: Iterable[str], figure: str, ours: str, theirs: str) -> list[Array]:
    return [figures.values(task, method, figure) for task in tasks for method in (ours, theirs)]


def _measured(
    figures: Figures, kind: str, methods: Sequence[str], starts: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tasks of a kind with finished runs of every method (and its base's figures), and what the others lack."""
    names = [name for name, task in figures.protocol.tasks.items() if task.figure == kind]
    lacking = {
        name: [
            m
            for m in methods
            if not figures.runs.get((name, m)) or (m == methods[0] and starts and not figures.start(name, m))
        ]
        for name in names
    }
    missing = tuple(f"{name}/{method}" for name, absent in lacking.items() for method in absent)
    return tuple(name for name in names if not lacking[name]), missing or (() if names else (f"a task by {kind}",))
