"""Keep what several seeds of a task have shown: ``results/<name>/results.json`` and a plot of it.

    python -m scripts.results hopper runs/hopper/seed0 runs/hopper/seed1 runs/hopper/seed2

Each run folder has to hold ``evaluation.json`` (``embodied evaluate``). Curves are thinned to 100 points. Seeds that
the file already has stay in it unless they are given anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embodied import checkpoint as checkpoints
from embodied.metrics import read_jsonl

from .config import ROOT
from .ship import made_by

RESULTS = ROOT / "results"
POINTS = 100


def main(argv: Sequence[str]) -> int:
    """Summarise the runs; 0, or 2 with a message."""
    if len(argv) < 2:
        print(__doc__)
        return 2
    name, runs = argv[0], [Path(run) for run in argv[1:]]
    missing = [str(run) for run in runs if not (run / "evaluation.json").exists()]
    if missing:
        print(f"no evaluation.json in {', '.join(missing)}: embodied evaluate checkpoint=RUN", file=sys.stderr)
        return 2
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    result = summarise(_merged(folder / "results.json", [read_run(run) for run in runs]))
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, folder / "curves.svg", name)
    print(folder)
    return 0


def _merged(path: Path, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These runs and those of other seeds that the file has, by seed."""
    before = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    new = {run["made_by"].get("seed") for run in runs}
    kept = [run for run in before if run["made_by"].get("seed") not in new]
    return sorted([*kept, *runs], key=lambda run: run["made_by"].get("seed") or 0)


def read_run(run: Path) -> dict[str, Any]:
    """What made one run, its learning curve and its evaluation."""
    records = read_jsonl(run / "metrics.jsonl")
    keep = sorted({round(i) for i in np.linspace(0, len(records) - 1, min(POINTS, len(records)))})
    curve = {key: [records[i].get(key) for i in keep] for key in ("step", "seconds", *_figures(records[-1]))}
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    index = checkpoints.load(run)
    return {
        "made_by": made_by(run),
        "env_steps": index.env_steps,
        "seconds": records[-1]["seconds"],
        "evaluation": {key: evaluation[key] for key in ("task", "episodes", "seed", "metrics")},
        "curve": curve,
    }


def _figures(record: dict[str, Any]) -> list[str]:
    return [key for key in record if key.startswith("episode/") and not key.startswith("episode/reward/")]


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs, and over them the mean, lowest and highest of every evaluated figure."""
    names = [n for n in runs[0]["evaluation"]["metrics"] if not n.startswith("reward/")]
    over_seeds = {}
    for name in names:
        means = [run["evaluation"]["metrics"][name]["mean"] for run in runs]
        means = [mean for mean in means if mean is not None]
        if means:
            over_seeds[name] = {
                "mean": float(np.mean(means)),
                "min": min(means),
                "max": max(means),
                "seeds": len(means),
            }
    return {"over_seeds": over_seeds, "runs": list(runs)}


def plot(result: dict[str, Any], path: Path, title: str) -> None:
    """Learning curves of every seed: the return, and up to three other figures of the episodes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = [run["curve"] for run in result["runs"]]
    plain = ("episode/length", "episode/physics_failure")
    names = ["episode/return", *[key for key in curves[0] if key.startswith("episode/") and key not in plain]]
    names = list(dict.fromkeys(names))[:4]
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
        for run, curve in zip(result["runs"], curves, strict=True):
            y = np.array([np.nan if value is None else value for value in curve.get(name, [])], float)
            if len(y):
                axis.plot(np.array(curve["step"]) / 1e6, y, label=f"seed {run['made_by'].get('seed', '?')}")
        axis.set_title(name.removeprefix("episode/"), fontsize=10)
        axis.set_xlabel("million steps")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.suptitle(f"{title}: while training, with exploration", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
