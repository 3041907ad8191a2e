"""What a run folder holds, as far as it is there. What is missing or broken is noted, never fatal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints
from embodied.metrics import read_jsonl
from embodied.types import TaskSpec

from ..config import UserError

EVALUATION = "evaluation"


@dataclass
class Bundle:
    """The exported bundle with the result of its verification; ``checks`` is empty where it could not be verified."""

    path: Path
    manifest: Any
    checks: list[dict[str, Any]] = field(default_factory=list)
    latency_us: dict[str, float] = field(default_factory=dict)
    passed: bool | None = None


@dataclass
class RunData:
    """A run folder.

    records: of ``metrics.jsonl``, oldest first.  evaluations: file stem -> its content, ``evaluation`` first.
    notes: what could not be read, in words.
    """

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    spec: TaskSpec | None = None
    env_steps: int = 0
    checkpoints: list[str] = field(default_factory=list)
    video: Path | None = None
    bundle: Bundle | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> dict[str, Any]:
        """The task's configuration."""
        return self.config.get("task") or {}

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.task.get("name") or (self.spec.name if self.spec else self.path.name))

    @property
    def seconds(self) -> float:
        """Time spent training."""
        return float(self.records[-1].get("seconds") or 0.0) if self.records else 0.0

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Environment steps and values of a figure, where it was logged and finite."""
        points = [(float(r["step"]), float(r[key])) for r in self.records if _finite(r.get(key)) and "step" in r]
        return [x for x, _ in points], [y for _, y in points]

    def keys(self) -> list[str]:
        """Every figure that was ever logged, in order of appearance."""
        return list(dict.fromkeys(key for record in self.records for key in record))

    def metrics(self, evaluation: str = EVALUATION) -> dict[str, dict[str, Any]]:
        """name -> {mean, low, high, std, n} of an evaluation; empty without one."""
        found = self.evaluations.get(evaluation, {}).get("metrics") or {}
        return {name: figure for name, figure in found.items() if figure.get("mean") is not None}


def read_run(path: Path, video: Path | None = None, bundle: Path | None = None) -> RunData:
    """Read a run folder.

    Raises:
        UserError: there is nothing of a run in it.
    """
    if not path.is_dir():
        raise UserError(f"run_dir={path}: no such folder")
    run = RunData(path)
    run.config = run_part(run, path / "config.yaml", _yaml) or {}
    run.provenance = run_part(run, path / "provenance.json", _json) or {}
    run.records = run_part(run, path / "metrics.jsonl", read_jsonl) or []
    for file in sorted(path.glob(f"{EVALUATION}*.json"), key=lambda p: (p.stem != EVALUATION, p.stem)):
        content = run_part(run, file, _json)
        if content:
            run.evaluations[file.stem] = content
    _read_checkpoint(run)
    if not (run.config or run.records or run.checkpoints):
        raise UserError(f"run_dir={path}: this is no run folder; `embodied train run_dir=...` makes one")
    film = video or path / "video.mp4"
    run.video = film if film.is_file() else None
    _read_bundle(run, bundle or path / "bundle")
    return run


def run_part(run: RunData, path: Path, read: Callable[[Path], Any]) -> Any:
    """The content of a file; None if it is not there, and a note as well if it is broken."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except Exception as error:  # whatever is wrong with the file, the rest of the report is still worth reading
        run.notes.append(f"{path.name} could not be read: {str(error).splitlines()[0] if str(error) else error!r}")
        return None


def _read_checkpoint(run: RunData) -> None:
    folders = checkpoints.complete(run.path)
    run.checkpoints = [folder.name for folder in folders]
    if not folders:
        return
    index = run_part(run, folders[-1] / checkpoints.INDEX, _json)
    if index:
        run.env_steps = int(index.get("env_steps", 0))
        run.config = run.config or index.get("config", {})
        run.spec = run_part(run, folders[-1] / checkpoints.INDEX, lambda _: TaskSpec.from_dict(index["spec"]))


def _read_bundle(run: RunData, path: Path) -> None:
    if not path.is_dir():
        return
    from sim2real.manifest import Manifest

    try:
        manifest = Manifest.read(path)
    except ValueError as error:
        run.notes.append(f"the bundle could not be read: {error}")
        return
    run.bundle = Bundle(path, manifest)
    try:
        from sim2real.verify import verify_bundle
    except ImportError:
        run.notes.append("the bundle was not verified: onnxruntime is not installed (extra `export`)")
        return
    report = verify_bundle(path)
    run.bundle.checks, run.bundle.latency_us = report.to_dict()["checks"], report.latency_us
    run.bundle.passed = report.passed


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content


def _yaml(path: Path) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(content, dict):
        raise ValueError("it holds no mapping")
    return {str(key): value for key, value in content.items()}
