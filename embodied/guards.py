"""Stops a run that has nothing to learn from, or that loses what it had learnt.

Both are common when a large policy is fine-tuned with a sparse reward, and both cost days when nobody looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .configuration import whole, within


@dataclass(frozen=True)
class GuardConfig:
    """When to stop; 0 turns a guard off.

    zero_signal: iterations in a row in which all rewards were the same, or no group's episodes ended differently.
    collapse: share of its best below which the success may not stay.  patience: for this many iterations in a row.
    """

    zero_signal: int = 50
    collapse: float = 0.0
    patience: int = 20

    def __post_init__(self) -> None:
        whole("guards.zero_signal", self.zero_signal, 0)
        whole("guards.patience", self.patience)
        within("guards.collapse", self.collapse, 0.0, 1.0)


class Guard:
    """Looks at the records of a run, one an iteration; it starts afresh when a run is resumed.

    success: the figure that must not collapse; None: there is none.
    """

    def __init__(self, config: GuardConfig, success: str | None) -> None:
        self.config, self.success = config, success
        self._same = self._low = 0
        self._best = 0.0

    def look(self, record: Mapping[str, Any]) -> str | None:
        """Why the run should stop, or None."""
        return self._zero_signal(record) or self._collapse(record)

    def _zero_signal(self, record: Mapping[str, Any]) -> str | None:
        nothing = record["reward/std"] == 0.0 or record.get("groups/used") == 0.0
        self._same = self._same + 1 if nothing else 0
        if not self.config.zero_signal or self._same < self.config.zero_signal:
            return None
        equal = record["reward/std"] == 0.0
        cause = f"all rewards were {record['reward']:g}" if equal else "no group's episodes ended differently"
        return (
            f"{cause} for {self._same} iterations, so there is nothing to learn from: "
            "start from a policy that succeeds now and then (init=...), explore more, or use a dense reward; "
            "guards.zero_signal=0 goes on all the same"
        )

    def _collapse(self, record: Mapping[str, Any]) -> str | None:
        value = record.get(f"episode/{self.success}")
        if not self.config.collapse or value is None:
            return None
        self._best = max(self._best, value)
        self._low = self._low + 1 if value < self.config.collapse * self._best else 0
        if self._low < self.config.patience:
            return None
        return (
            f"{self.success} has been below {self.config.collapse:g} of its best, {self._best:.3g}, for {self._low} "
            f"iterations (now {value:.3g}): go back to an earlier checkpoint, with a smaller algo.learning_rate, "
            "algo.clip_range or algo.desired_kl"
        )
