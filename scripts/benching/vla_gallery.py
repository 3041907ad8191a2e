"""Which failed episodes are shown: of every policy some of each kind, over as many rows as there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .vla_figures import ByRow
from .vla_row import SUCCESS


class Shot(NamedTuple):
    """An episode to film; outcome: what it came to in the benchmark."""

    policy: str
    row: str
    number: int
    outcome: str


def choose(results: Mapping[str, ByRow], each: int) -> list[Shot]:
    """At most ``each`` failures of a policy: the kinds take turns, and so do the rows of each kind."""
    return [shot for policy, rows in results.items() for shot in _of(policy, rows, each)]


def _of(policy: str, rows: ByRow, each: int) -> list[Shot]:
    kinds: dict[str, list[Shot]] = {}
    for row, result in rows.items():
        for number, outcome in zip(result["numbers"], result["outcome"], strict=True):
            if outcome != SUCCESS:
                kinds.setdefault(outcome, []).append(Shot(policy, row, number, outcome))
    queues = [_spread(shots) for _, shots in sorted(kinds.items())]
    chosen: list[Shot] = []
    while len(chosen) < each and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue]
    return chosen[:each]


def _spread(shots: list[Shot]) -> list[Shot]:
    """The first of every row, then the second of every row, and so on."""
    seen: dict[str, int] = {}
    ranked = []
    for shot in shots:
        seen[shot.row] = seen.get(shot.row, 0) + 1
        ranked.append((seen[shot.row], shot))
    return [shot for _, shot in sorted(ranked, key=lambda pair: pair[0])]
