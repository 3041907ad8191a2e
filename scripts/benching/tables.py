"""The numbers as JSON, markdown and plots: ``<out>/claims.{md,json}`` and ``<out>/<task>/{results.json, table.md,
curves.svg}``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from embodied.statistics import Interval, bootstrap, iqm

from .claims import Verdict
from .figures import Figures, Run
from .protocol import STAGES, TaskPlan

COLUMNS = {
    "deterministic": "final, deterministic",
    "stochastic": "final, stochastic",
    "auc": "area under curve",
    "to_threshold": "steps to threshold",
    "simulate": "simulate, s",
    "denoise": "denoise, s",
    "update": "update, s",
}
INTERVALS = ("deterministic", "stochastic", "auc", "to_threshold")
POINTS = 100  # of a learning curve in results.json and in the plot


def write(
    figures: Figures, verdicts: Sequence[Verdict], out: Path, level: float, resamples: int, about: Mapping[str, Any]
) -> None:
    """Write everything. about: what the reader has to know beside the numbers: budgets, provenance, failed jobs."""
    for task in figures.protocol.tasks.values():
        folder = out / task.name
        folder.mkdir(parents=True, exist_ok=True)
        result = task_result(figures, task, level, resamples)
        _write_json(folder / "results.json", {**about, **result})
        (folder / "table.md").write_text(task_table(task, result), encoding="utf-8")
        plot(figures, task, folder / "curves.svg")
    _write_json(out / "claims.json", {**about, "claims": [verdict_json(verdict) for verdict in verdicts]})
    (out / "claims.md").write_text(claims_table(verdicts), encoding="utf-8")


# JSON --------------------------------------------------------------------------------------------------------------


def task_result(figures: Figures, task: TaskPlan, level: float, resamples: int) -> dict[str, Any]:
    """All that was measured on a task, as plain JSON types."""
    methods = {}
    for method in figures.protocol.methods_of(task.name):
        runs = figures.runs.get((task.name, method.name), [])
        if runs:
            summary = {
                name: asdict(
                    bootstrap(
                        lambda strata: iqm(strata[0]), [figures.values(task.name, method.name, name)], level, resamples
                    )
                )
                for name in COLUMNS
            }
            methods[method.name] = {
                "stage": method.stage,
                "learning_rate": figures.rates[task.name, method.name],
                "summary": summary,
                "runs": [_run_json(run) for run in runs],
            }
    starts = {
        base: {**asdict(start), "passed": start.passed}
        for (name, base), start in figures.starts.items()
        if name == task.name
    }
    return {"task": task.name, "figure": task.figure, "threshold": task.threshold, "bases": starts, "methods": methods}


def _run_json(run: Run) -> dict[str, Any]:
    keep = sorted({round(i) for i in np.linspace(0, len(run.steps) - 1, min(POINTS, len(run.steps)))})
    thinned = {"steps": run.steps[keep].tolist(), "curve": run.curve[keep].tolist()}
    return {**asdict(run), **thinned}


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON types."""
    return {"claim": verdict.claim, "result": verdict.result, **asdict(verdict)}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _finite(x: Any) -> Any:
    """Without what JSON cannot say: nan becomes null."""
    if isinstance(x, Mapping):
        return {key: _finite(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_finite(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


# Markdown ----------------------------------------------------------------------------------------------------------


def task_table(task: TaskPlan, result: Mapping[str, Any]) -> str:
    """One row a method: the interquartile mean over seeds, with intervals where there are two seeds or more."""
    lines = [
        f"# {task.name}",
        "",
        f"Figure: {task.figure}; threshold {task.threshold:g}. Interquartile mean over seeds.",
        "",
    ]
    for stage in STAGES:
        rows = [_row(name, entry) for name, entry in result["methods"].items() if entry["stage"] == stage]
        if rows:
            header = ["method", "seeds", "reached", "learning rate", *COLUMNS.values()]
            lines += [f"## {'From scratch' if stage == STAGES[0] else 'Fine-tuned'}", "", *markdown(header, rows), ""]
    if result["bases"]:
        header = ["base", "demonstrations", "deterministic", "stochastic", "gate"]
        rows = [
            [name, *(_number(b[key]) for key in ("demos", "deterministic", "stochastic")), _yes(b["passed"])]
            for name, b in result["bases"].items()
        ]
        lines += ["## What was cloned", "", *markdown(header, rows), ""]
    return "\n".join(lines)


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    cells = [
        interval_text(Interval(**entry["summary"][key]))
        if key in INTERVALS
        else _number(entry["summary"][key]["point"])
        for key in COLUMNS
    ]
    reached = sum(run["reached"] for run in entry["runs"])
    rate = "recipe's" if entry["learning_rate"] is None else f"{entry['learning_rate']:g}"
    return [name, str(len(entry["runs"])), str(reached), rate, *cells]


def claims_table(verdicts: Iterable[Verdict]) -> str:
    """The verdicts, and below them what each rests on."""
    verdicts = list(verdicts)
    rows = [[v.claim, v.published, v.asked, v.result, ", ".join(v.tasks)] for v in verdicts]
    lines = ["# Claims", "", *markdown(["claim", "published", "to pass", "result", "measured on"], rows), ""]
    for verdict in verdicts:
        lines += [f"## {verdict.claim}: {verdict.result}", ""]
        if verdict.conditions:
            rows = [[c.what, interval_text(c.value), _yes(c.holds), c.made_of] for c in verdict.conditions]
            lines += [*markdown(["condition", "value", "met", "made of"], rows), ""]
        if verdict.missing:
            lines += [f"Missing: {', '.join(verdict.missing)}.", ""]
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def interval_text(x: Interval) -> str:
    """``0.95 (0.9 to 1.1)``, or the point alone."""
    return f"{_number(x.point)} ({_number(x.low)} to {_number(x.high)})" if x.known else _number(x.point)


def _number(x: float) -> str:
    if not math.isfinite(x):
        return "-"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def _yes(x: bool | None) -> str:
    return "cannot be told" if x is None else "yes" if x else "no"


# Plots -------------------------------------------------------------------------------------------------------------


def plot(figures: Figures, task: TaskPlan, path: Path) -> None:
    """Learning curves: one panel a stage; the mean of the middle half of the seeds, and all of them faintly."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    methods = figures.protocol.methods_of(task.name)
    stages = [stage for stage in STAGES if any(m.stage == stage for m in methods)]
    figure, axes = plt.subplots(1, len(stages), figsize=(5.5 * len(stages), 3.8), squeeze=False, layout="constrained")
    grid = np.linspace(0, figures.budget, POINTS)
    for axis, stage in zip(axes[0], stages, strict=True):
        for number, method in enumerate(m for m in methods if m.stage == stage):
            runs = figures.runs.get((task.name, method.name), [])
            curves = np.array([np.interp(grid, run.steps, run.curve, left=np.nan) for run in runs])
            for curve in curves:
                axis.plot(grid / 1e6, curve, color=f"C{number}", alpha=0.2, linewidth=0.8)
            if runs:
                axis.plot(grid / 1e6, iqm(curves.T), color=f"C{number}", label=method.name)
                axis.legend(fontsize=7)
        axis.axhline(task.threshold, color="0.5", linestyle=":", linewidth=1)
        axis.set(title=stage, xlabel="million steps", ylabel=task.figure)
        axis.grid(alpha=0.3)
    figure.suptitle(f"{task.name}: while training, with exploration", fontsize=11)
    figure.savefig(path)
    plt.close(figure)
