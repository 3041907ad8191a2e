"""A run's progress in the terminal: a live panel, or plain lines where there is no terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol


class Display(Protocol):
    """Shows progress to a person."""

    def update(self, record: Mapping[str, Any], total_steps: int) -> None:
        """Show a record as written by the training loop."""

    def close(self) -> None:
        """Leave the terminal tidy."""


def make_display(title: str, success_metric: str | None = None) -> Display:
    """A live panel on a terminal, plain lines elsewhere (every ten seconds, and fewer as the run gets longer)."""
    return LiveDisplay(title, success_metric) if sys.stdout.isatty() else LineDisplay()


class LineDisplay:
    """One line of text now and then."""

    def __init__(self, interval: float = 10.0) -> None:
        self.interval = interval
        self._next = 0.0

    def update(self, record: Mapping[str, Any], total_steps: int) -> None:
        """Print a line if it is time for one."""
        now = time.monotonic()
        if now < self._next and record["step"] < total_steps:
            return
        self._next = now + self.interval
        self.interval = min(60.0, self.interval * 1.2)
        shown = {name: f"episode/{name}" for name in ("return", "length", "success")}
        imitation = ("loss", "validation_loss", "action_error", "first_action_error")
        shown |= {name: name for name in imitation}
        figures = "  ".join(f"{name} {_number(record[key])}" for name, key in shown.items() if key in record)
        print(f"{headline(record, total_steps)}  {figures}", flush=True)

    def close(self) -> None:
        """Nothing to do."""


class LiveDisplay:
    """A panel that is redrawn in place."""

    def __init__(self, title: str, success_metric: str | None = None) -> None:
        from rich.live import Live

        self.title, self.success_metric = title, success_metric
        self._live = Live(refresh_per_second=4, transient=False)
        self._live.start()

    def update(self, record: Mapping[str, Any], total_steps: int) -> None:
        """Redraw."""
        from rich.panel import Panel

        self._live.update(Panel(_table(record), title=self.title, subtitle=headline(record, total_steps)))

    def close(self) -> None:
        """Leave the last panel standing."""
        self._live.stop()


def _table(record: Mapping[str, Any]) -> Any:
    """Episode metrics on the left, the learner's figures on the right."""
    from rich.table import Table

    episode = [(k.removeprefix("episode/"), v) for k, v in record.items() if k.startswith("episode/")]
    episode.sort(key=lambda item: (item[0] not in ("return", "length", "success"), "/" in item[0]))
    hidden = ("step", "iteration", "seconds", "steps_per_second")
    learner = [(k, v) for k, v in record.items() if not k.startswith("episode/") and k not in hidden]
    table = Table.grid(padding=(0, 2))
    for i in range(min(max(len(episode), len(learner)), 24)):
        left = episode[i] if i < len(episode) else ("", "")
        right = learner[i] if i < len(learner) else ("", "")
        table.add_row(left[0], _number(left[1]), right[0], _number(right[1]))
    return table


def headline(record: Mapping[str, Any], total_steps: int) -> str:
    """``step 1.2M / 6.0M (20 %)  11.3k steps/s  ETA 7:05``."""
    step, rate = record["step"], record.get("steps_per_second", 0.0)
    remaining = max(0, total_steps - step) / rate if rate else math.nan
    eta = "-" if math.isnan(remaining) else f"{int(remaining) // 60}:{int(remaining) % 60:02d}"
    share = 100 * step / max(1, total_steps)
    return f"step {_large(step)} / {_large(total_steps)} ({share:.0f} %)  {_large(rate)} steps/s  ETA {eta}"


def _large(x: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:.1f}{letter}"
    return f"{x:.0f}"


def _number(x: Any) -> str:
    return f"{x:.4g}" if isinstance(x, float) else str(x)
