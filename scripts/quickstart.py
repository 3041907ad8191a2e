"""What ``make run`` does: train, evaluate, film, export, verify and report, one command after the other.

Every step is a command that can be typed; it is shown before it runs. Without a renderer there is no film, and the
rest is done all the same.

python -m scripts.quickstart task=go2_velocity total_steps=20000 num_worlds=64
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .config import ROOT

EPISODES = 256


@dataclass(frozen=True)
class Step:
    """One command. result: what it leaves.  optional: whether the rest may go on without it."""

    title: str
    argv: list[str]
    result: Path
    optional: bool = False


def main(argv: Sequence[str]) -> int:
    """Run every step; the exit status of the first needed one that failed, else 0."""
    run_dir = _option(argv, "run_dir") or default_run_dir(_option(argv, "task") or "go2_velocity")
    overrides = [argument for argument in argv if not argument.startswith("run_dir=")]
    begin = time.monotonic()
    failed: list[Step] = []
    for step in plan(Path(run_dir), overrides):
        status = run(step)
        if status and not step.optional:
            print(f"\n{step.title}: failed with exit status {status}", file=sys.stderr)
            return status
        failed += [step] if status else []
    summary(Path(run_dir), failed, time.monotonic() - begin)
    return 0


def plan(run_dir: Path, overrides: Sequence[str]) -> list[Step]:
    """The steps, in order; the report comes last, because it shows what the others found."""
    checkpoint, bundle = f"checkpoint={run_dir}", run_dir / "bundle"
    return [
        Step("train", ["train", *overrides, f"run_dir={run_dir}"], run_dir / "checkpoints"),
        Step("evaluate", ["evaluate", checkpoint, f"episodes={EPISODES}"], run_dir / "evaluation.json"),
        Step("export", ["export", checkpoint, f"out={bundle}"], bundle),
        Step("verify", ["verify", f"bundle={bundle}", checkpoint], bundle / "manifest.json"),
        Step(
            "film", ["play", checkpoint, f"video={run_dir / 'video.mp4'}", "viewer=none"], run_dir / "video.mp4", True
        ),
        Step("report", ["report", f"run_dir={run_dir}"], run_dir / "report.html"),
    ]


def run(step: Step) -> int:
    """Run one command in a process of its own; its exit status. Where an optional one fails, a note says why."""
    print(f"\n$ embodied {shlex.join(step.argv)}", flush=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "scripts.cli", *step.argv]
    kept = subprocess.PIPE if step.optional else None
    try:
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stderr=kept, text=True, check=False)
    except KeyboardInterrupt:  # the command has had it as well, and has said how to go on
        return 130
    if done.stderr:
        print(done.stderr, end="", file=sys.stderr, flush=True)
    if done.returncode and step.optional:
        reason = (done.stderr or "").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        note_of(step).write_text(reason[0] + "\n", encoding="utf-8")
    return done.returncode


def note_of(step: Step) -> Path:
    """Where the reason is kept why a step left no result; the report shows it: ``video.txt`` for ``video.mp4``."""
    return step.result.with_suffix(".txt")


def default_run_dir(task: str) -> Path:
    """``runs/<task>/<date-time>-quickstart``."""
    return Path("runs") / task / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-quickstart"


def summary(run_dir: Path, failed: Sequence[Step], seconds: float) -> None:
    """Where everything is."""
    print(f"\nDone in {int(seconds) // 60} min {int(seconds) % 60} s. Everything is in {run_dir}:")
    found = json.loads((run_dir / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    figures = ", ".join(f"{name} {found[name]['mean']:.3g}" for name in HEADLINES if name in found)
    rows = [
        ("report.html", "the report: open it in a browser"),
        ("video.mp4", "the video"),
        ("evaluation.json", figures),
        ("bundle", "what a robot needs: ONNX and manifest, verified"),
        ("checkpoints", f"watch the policy: .venv/bin/embodied play checkpoint={run_dir}"),
    ]
    missing = {step.result.name for step in failed}
    for name, note in rows:
        print(f"  {name:16s} {'is missing; see above' if name in missing else note}")


HEADLINES = ("return", "error_lin_vel", "error_ang_vel", "fall", "success")
"""Evaluation figures that are worth a line."""


def _option(argv: Sequence[str], name: str) -> str | None:
    return next((argument.partition("=")[2] for argument in argv if argument.startswith(f"{name}=")), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
