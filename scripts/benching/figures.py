"""What finished jobs have measured, as plain numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodied.metrics import read_jsonl
from embodied.statistics import Array

from .aggregate import area, curve_of, seconds_of, steps_to
from .finetune import MODES, Planner, Rates
from .jobs import Job, last_json
from .protocol import Protocol, TaskPlan

GATE = 0.8
"""A base is good enough with this share of the demonstrations' return (of their success, for a sparse reward)."""


@dataclass(frozen=True)
class Run:
    """One run of a method on a task.

    steps, curve: (P,) the task's figure while training, with exploration.
    auc: mean height of the curve over the budget.  to_threshold: environment steps; the budget where it is not reached.
    reached: whether it is.  simulate, denoise, update: seconds.
    deterministic, stochastic: the figure in evaluation.
    """

    seed: int
    steps: Array
    curve: Array
    auc: float
    to_threshold: float
    reached: bool
    simulate: float
    denoise: float
    update: float
    deterministic: float
    stochastic: float


@dataclass(frozen=True)
class Start:
    """A base: its figure in evaluation, and that of the demonstrations."""

    demos: float
    deterministic: float
    stochastic: float

    @property
    def passed(self) -> bool:
        """Whether behaviour cloning has worked."""
        return self.deterministic >= GATE * self.demos


@dataclass(frozen=True)
class Figures:
    """Everything that was measured; what is missing is simply not there.

    runs: (task, method) -> its finished runs.  starts: (task, base).
    """

    protocol: Protocol
    budget: int
    runs: Mapping[tuple[str, str], list[Run]]
    starts: Mapping[tuple[str, str], Start]
    rates: Rates

    def values(self, task: str, method: str, figure: str) -> Array:
        """(S,) one number a finished run."""
        return np.array([getattr(run, figure) for run in self.runs.get((task, method), [])])

    def start(self, task: str, method: str) -> Start | None:
        """What a method started from."""
        base = self.protocol.methods[method].base if method in self.protocol.methods else None
        return None if base is None else self.starts.get((task, base))


def collect(planner: Planner, rates: Rates) -> Figures:
    """Read what is there."""
    protocol = planner.protocol
    runs = {}
    for (task, method), jobs in planner.final(rates).items():
        found = (read_run(planner, protocol.tasks[task], job, seed) for job, seed in _seeded(jobs, planner))
        runs[task, method] = [run for run in found if run is not None]
    starts = {
        (task.name, base): start
        for task in protocol.tasks.values()
        for base in protocol.bases
        if (start := read_start(planner, task, base)) is not None
    }
    return Figures(protocol, planner.budget.steps, runs, starts, rates)


def _seeded(jobs: list[Job], planner: Planner) -> list[tuple[Job, int]]:
    return list(zip(jobs, planner.budget.seeds, strict=True))


def read_run(planner: Planner, task: TaskPlan, job: Job, seed: int) -> Run | None:
    """The numbers of a run that was trained and evaluated; None for any other."""
    evaluations = _evaluated(planner, job, task.figure)
    if evaluations is None:
        return None
    records, budget = read_jsonl(job.out / "metrics.jsonl"), planner.budget.steps
    steps, curve = curve_of(records, f"episode/{task.figure}")
    if not len(steps):
        return None
    return Run(
        seed,
        steps,
        curve,
        area(steps, curve, budget),
        steps_to(steps, curve, task.threshold, budget),
        bool(curve.max() >= task.threshold),
        **seconds_of(records),
        **evaluations,
    )


def read_start(planner: Planner, task: TaskPlan, base: str) -> Start | None:
    """The numbers of a base; None where it was not made."""
    demos, job = planner.demos(task)[-1], planner.base(task, planner.protocol.bases[base])
    evaluations = _evaluated(planner, job, task.figure)
    if evaluations is None or not demos.done:
        return None
    return Start(float(last_json(demos.log)[task.figure]), **evaluations)


def _evaluated(planner: Planner, job: Job, figure: str) -> dict[str, float] | None:
    jobs = dict(zip(MODES, planner.evaluations(job), strict=True))
    if not job.done or not all(made.done for made in jobs.values()):
        return None
    return {mode: _mean(made, figure) for mode, made in jobs.items()}


def _mean(job: Job, figure: str) -> float:
    found: dict[str, Any] = json.loads(job.out.read_text(encoding="utf-8"))["metrics"][figure]
    return float("nan") if found["mean"] is None else float(found["mean"])
