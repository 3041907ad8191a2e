"""The benchmark as one JSON document, a table in markdown and a page: ``<out>/<name>.{json,md,html}``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envs.tasks.tabletop.rows import AXES, ROWS

from ..reporting import vla as report
from .tables import markdown
from .vla_figures import ByRow, Result, comparisons, policy_figures
from .vla_gallery import Shot
from .vla_methods import WARM_UP, Methods, method_figures, pairs
from .vla_published import AXES as PUBLISHED
from .vla_published import RETENTION

WANTED = (0.2, 0.5)
"""How often the warm-up should succeed in distribution, so that there is something to learn, and to learn from."""
Film = tuple[Shot, str, Path]
"""The episode, what it came to when it was filmed, and the film."""


def document(
    results: Mapping[str, ByRow],
    swapped: Mapping[str, Result],
    methods: Methods | None,
    level: float,
    resamples: int,
) -> dict[str, Any]:
    """All figures as plain JSON types. swapped: policy -> its result with the other object named."""
    policies = {name: policy_figures(rows, swapped.get(name), level, resamples) for name, rows in results.items()}
    rows = [row for row in ROWS if any(row in played for played in results.values())]
    found: dict[str, Any] = {
        "task": "put_on_plate",
        "level": level,
        "rows": {row: {"axis": ROWS[row].axis, "about": ROWS[row].about} for row in rows},
        "policies": policies,
        "comparisons": comparisons(results, pairs(methods, policies), level, resamples),
        "published": {
            "source": "RL4VLA (Liu et al. 2025)",
            "success_percent": PUBLISHED,
            "retention_percent": RETENTION,
        },
    }
    if methods is None:
        return found
    return {**found, "warmup": _start(policies[WARM_UP]), "methods": method_figures(methods, policies, level)}


def _start(warmup: Mapping[str, Any]) -> str:
    """Where all methods came from, in words."""
    figure = warmup["axes"].get(AXES[0], {}).get("success")
    low, high = (f"{100 * x:.0f}" for x in WANTED)
    return f"All start from one policy: {_percent(figure)} % in distribution (wanted: {low} to {high})."


def write(found: Mapping[str, Any], films: Sequence[Film], out: Path, name: str) -> list[Path]:
    """Write everything, the JSON first; the paths."""
    shots = [{**shot._asdict(), "filmed": filmed} for shot, filmed, _ in films]
    found = {**found, "gallery": shots}
    texts = {
        "json": json.dumps(found, indent=1, allow_nan=False) + "\n",
        "md": table(found),
        "html": report.render(found, [path for _, _, path in films]),
    }
    out.mkdir(parents=True, exist_ok=True)
    return [_write(out / f"{name}.{suffix}", text) for suffix, text in texts.items()]


def _write(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path


# Markdown -----------------------------------------------------------------------------------------------------------


def table(found: Mapping[str, Any]) -> str:
    """Success at the end by row, by axis and retention; methods over their seeds where there are any."""
    policies = found["policies"]
    lines = [
        f"# {found['name']}",
        "",
        f"{found['episodes']} episodes a row, the same for all. Success at the end, %.",
        "",
    ]
    head = ["row", "axis", *policies]
    body = [[row, entry["axis"], *_cells(policies, "rows", row)] for row, entry in found["rows"].items()]
    lines += [*markdown(head, body), "", *([found["warmup"], ""] if "warmup" in found else [])]
    for budget, methods in found.get("methods", {}).items():
        body = [[row, found["rows"][row]["axis"], *_cells(methods, "rows", row)] for row in found["rows"]]
        lines += [f"## Mean over seeds, matched {budget}", "", *markdown(["row", "axis", *methods], body), ""]
        lines += _axes(methods, found["published"])
    if "methods" not in found:
        lines += ["## Axes", "", *_axes(policies, found["published"])]
    return "\n".join(lines)


def _cells(columns: Mapping[str, Any], kind: str, row: str) -> list[str]:
    return [_percent(_figure(column, kind, row)) for column in columns.values()]


def _figure(column: Mapping[str, Any], kind: str, key: str) -> Mapping[str, Any] | None:
    """Of a policy a proportion lies one level deeper than of a method."""
    entry = column[kind].get(key)
    if entry is None:
        return None
    return entry.get("success_at_end") or entry.get("success") or entry


def _axes(columns: Mapping[str, Any], published: Mapping[str, Any]) -> list[str]:
    theirs = {f"RL4VLA {name}": figures for name, figures in published["success_percent"].items()}
    kept = published["retention_percent"]
    rows = []
    for axis in AXES:
        ours = [_percent(_figure(column, "axes", axis)) for column in columns.values()]
        rows.append([f"{axis}, mean", *ours, *(f"{figures[axis]:.1f}" for figures in theirs.values())])
        if axis in kept[next(iter(kept))]:
            shares = [_percent(retained(column, axis)) for column in columns.values()]
            rows.append([f"{axis}, retained", *shares, *(str(figures[axis]) for figures in kept.values())])
    return [*markdown(["", *columns, *theirs], rows), ""]


def retained(column: Mapping[str, Any], axis: str) -> Mapping[str, Any] | None:
    """The retention on an axis, of a policy or of a method."""
    if "retention" in column:
        return column["retention"].get(axis)
    return column["axes"].get(axis, {}).get("retention")


def _percent(figure: Mapping[str, Any] | None) -> str:
    """``54.0 (47.1 to 60.8)``."""
    if figure is None or figure["mean"] is None:
        return "-"
    mean = f"{100 * figure['mean']:.1f}"
    return mean if figure["low"] is None else f"{mean} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"
