"""Settings of `embodied bench vla`, and the presets of its comparison of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from embodied.configuration import choice, positive, whole, within
from envs.tasks.tabletop.rows import ROWS

from ..config import compose, plain, typed, with_preset

QUICK = {
    "compare": "[sft,ppo,grpo,dpo]",
    "seeds": "1",
    "rows": "[in_distribution,two_objects_seen]",
    "episodes": "4",
    "gallery": "1",
    "resamples": "200",
    "protocol.task": "['task.image_size=0']",
    "protocol.policy": "['policy=compact_vla','policy.trunk.width=16','policy.trunk.blocks=1','policy.trunk.heads=2']",
    "protocol.warmup": "{episodes: 4, steps: 20, approaches: 4}",
    "protocol.sft": "{episodes: 4, steps: 20}",
    "protocol.steps": "1920",
    "protocol.train": "['num_worlds=8','algo.num_epochs=1','algo.num_minibatches=2']",
    "protocol.methods.grpo.settings": "['algo=grpo','task.group=4','algo.group_size=4']",
    "protocol.methods.dpo.settings": "['algo=dpo','task.group=4','algo.group_size=4','algo.num_minibatches=1']",
    "work": "runs/bench/vla_quick",
    "out": "runs/bench/vla_quick/results",
}
"""A tiny budget that shows that everything works, and nothing else; what the command line names goes first."""
PRESETS: dict[str, dict[str, str]] = {"full": {}, "quick": QUICK}


@dataclass(frozen=True)
class VLABenchConfig:
    """The settings of the benchmark.

    what: vla: any policies on the rows of put_on_plate, or a comparison of methods.
    policies: who plays: run folders, checkpoints, shipped names, bundles; or named, {ppo: RUN, sft: RUN}.
    compare: which of protocol.methods, each trained from one warm-up; instead of policies.
    seeds: training runs of each method: 0, 1, ...
    preset: full, or quick: a tiny comparison that shows that everything works, and nothing else.
    rows: of docs/put_on_plate.md.  episodes: of each row.  seed: which ones; the same seed gives the same episodes.
    gallery: failed episodes of each policy on film.
    name: of the files; default: rows or compare.
    num_worlds: simulations side by side in a job.  processes: jobs at once.  num_threads: CPU threads of each; the
        warm-up of a comparison, which all wait for, has those of all.
    level, resamples: of the intervals.
    work: the folder of all jobs; what is done there is not done again.  out: where the results go.
    protocol: how methods are trained: configs/bench_vla.yaml, each of its keys open to change.
    """

    what: str = "vla"
    policies: Any = None
    compare: list[str] = field(default_factory=list)
    seeds: int = 3
    preset: str = "full"
    rows: list[str] = field(default_factory=lambda: list(ROWS))
    episodes: int = 200
    seed: int = 0
    gallery: int = 5
    name: str | None = None
    num_worlds: int = 50
    processes: int = 2
    num_threads: int = 1
    level: float = 0.95
    resamples: int = 2000
    work: str = "runs/bench/vla"
    out: str = "results/vla"
    protocol: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choice("preset", self.preset, PRESETS)
        for name in ("seeds", "episodes", "num_worlds", "processes", "num_threads", "resamples"):
            positive(name, getattr(self, name))
        for name in ("seed", "gallery"):
            whole(name, getattr(self, name), 0)
        within("level", self.level, 0.5, 0.999)
        for name, valid in (("rows", list(ROWS)), ("compare", list(self.protocol.get("methods", {})))):
            entries = getattr(self, name)
            if len(set(entries)) < len(entries):
                raise ValueError(f"{name}={entries}: names one twice")
            for entry in entries:
                choice(name, entry, valid)
        if bool(self.policies) == bool(self.compare) or not self.rows:
            raise ValueError("give either policies=[RUN,...] or compare=[sft,ppo,...], and at least one row")


def configure(argv: Sequence[str]) -> VLABenchConfig:
    """The settings: the preset's go before the defaults, the command line's before both."""
    composed = compose(VLABenchConfig, "bench_vla", with_preset(PRESETS, argv))
    plain(composed)
    return typed(VLABenchConfig, composed)
