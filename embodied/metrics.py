"""What a run writes down: episode averages, ``metrics.jsonl``, TensorBoard, optionally W&B."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import distributed
from .types import StepResult

Sums = dict[str, list[float]]
"""name -> [sum, count] over episodes."""


class EpisodeWindow:
    """Means of episode metrics over at least the last ``size`` episodes that ended, on all ranks.

    A metric that is not finite is left out of its mean.
    """

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self._now: Sums = {}
        self._past: deque[tuple[float, Sums]] = deque()

    def add(self, step: StepResult) -> None:
        """Take the metrics of the rows that ended at this step."""
        ended = step.done if step.active is None else step.done & step.active
        rows = ended.nonzero().squeeze(-1)
        if not rows.numel() or not step.metrics:
            return
        figures = torch.stack([x[rows].double() for x in step.metrics.values()])
        finite = figures.isfinite()
        sums = torch.where(finite, figures, 0.0).sum(1).tolist()
        for name, total, count in zip(step.metrics, sums, finite.sum(1).tolist(), strict=True):
            _add(self._now, name, total, count)
        _add(self._now, "episodes", float(rows.numel()), 1)

    def commit(self) -> dict[str, float]:
        """Close an iteration, over all ranks; returns the means as they are now (none before the first episode)."""
        now: Sums = {}
        for sums in distributed.gather(self._now):
            for name, (total, count) in sums.items():
                _add(now, name, total, count)
        self._now = {}
        episodes = now.pop("episodes", [0.0])[0]
        if episodes:
            self._past.append((episodes, now))
        while self._past and sum(count for count, _ in self._past) - self._past[0][0] >= self.size:
            self._past.popleft()
        window: Sums = {}
        for _, sums in self._past:
            for name, (total, count) in sums.items():
                _add(window, name, total, count)
        return {f"episode/{name}": total / count for name, (total, count) in window.items() if count}

    def state_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"past": [[count, sums] for count, sums in self._past]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self._past = deque((count, sums) for count, sums in state["past"])
        self._now = {}


def _add(sums: Sums, name: str, total: float, count: float) -> None:
    entry = sums.setdefault(name, [0.0, 0.0])
    entry[0] += total
    entry[1] += count


# Files ------------------------------------------------------------------------------------------------------------


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file; a last line torn by a crash is left out."""
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


class JsonlWriter:
    """Appends records to a JSONL file, one ``write`` a line, so that a kill tears at most the last one.

    last_step: when resuming, records beyond this step are dropped, and so is a torn line.
    """

    def __init__(self, path: Path, last_step: int | None = None) -> None:
        if path.exists():
            kept = [r for r in read_jsonl(path) if last_step is not None and r.get("step", 0) <= last_step]
            _replace(path, "".join(_line(record) for record in kept))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; figures that are not finite become null."""
        self._file.write(_line(record))
        self._file.flush()

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(record: Mapping[str, Any]) -> str:
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(clean) + "\n"


def _replace(path: Path, text: str) -> None:
    """Rewrite a file so that a crash leaves either the old or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class RunLog:
    """Every place that a run's figures go to: ``metrics.jsonl``, TensorBoard, and W&B if asked.

    last_step: the step resumed from, or None for a fresh run.
    wandb: keyword arguments of ``wandb.init``, or None for no W&B.
    """

    def __init__(self, run_dir: Path, last_step: int | None = None, wandb: Mapping[str, Any] | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        run_dir.mkdir(parents=True, exist_ok=True)
        self._jsonl = JsonlWriter(run_dir / "metrics.jsonl", last_step)
        purge = None if last_step is None else last_step + 1
        self._board = SummaryWriter(str(run_dir), purge_step=purge)
        self._wandb = None if wandb is None else _wandb_run(run_dir, wandb)

    def write(self, record: Mapping[str, Any]) -> None:
        """Log one record; its ``step`` is the abscissa."""
        self._jsonl.write(record)
        figures = {k: v for k, v in record.items() if isinstance(v, float) and math.isfinite(v)}
        for name, value in figures.items():
            self._board.add_scalar(name, value, record["step"])
        if self._wandb is not None:
            self._wandb.log(figures, step=record["step"])

    def sync(self) -> None:
        """Wait until the figures are on the disk; called with every checkpoint."""
        self._jsonl.sync()
        self._board.flush()

    def close(self) -> None:
        """Close everything."""
        self._jsonl.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _wandb_run(run_dir: Path, arguments: Mapping[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ImportError("logging to W&B needs the package wandb: pip install wandb, or leave wandb off") from error
    return wandb.init(**{"dir": str(run_dir), "resume": "allow", **arguments})
