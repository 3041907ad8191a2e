"""Compare methods of learning by a fixed protocol; what is done is kept, so that the same command goes on.

embodied bench finetune
embodied bench finetune preset=quick
embodied bench finetune tasks=[hopper] seeds=[0,1,2] steps=500000 compile=true out=results/generative
embodied bench finetune methods=[ncdpo,dppo_k20,reinflow_k4] learning_rates=[3e-4] processes=1
embodied bench vla policies=[RUN,RUN] name=mine
embodied bench vla 'policies={sft: RUN, ppo: RUN}' rows=[in_distribution,unseen_table] episodes=100
embodied bench vla compare=[sft,ppo,grpo,dpo] seeds=3
embodied bench vla preset=quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from embodied.configuration import choice, from_mapping, positive, within
from embodied.provenance import provenance

from .benching import claims, jobs, tables, vla
from .benching.figures import collect
from .benching.finetune import Budget, Planner, execute
from .benching.protocol import Protocol
from .benching.vla_config import VLABenchConfig
from .common import user_errors
from .config import compose, parse, plain, typed, with_preset

QUICK = {
    "tasks": "[hopper]",
    "methods": "[mlp_scratch,reinflow_k1]",
    "seeds": "[0,1]",
    "steps": "1024",
    "learning_rates": "[3e-4]",
    "pretrain_steps": "100",
    "episodes": "4",
    "resamples": "200",
    "protocol.tasks.hopper.expert_steps": "2048",
    "protocol.tasks.hopper.episodes": "8",
    "protocol.tasks.hopper.train": "['num_worlds=4','algo.num_steps=16','algo.num_epochs=2','algo.num_minibatches=4']",
}
"""A tiny budget that shows that everything works, and nothing else; what the command line names goes first."""
PRESETS: dict[str, dict[str, str]] = {"full": {}, "quick": QUICK}


@dataclass(frozen=True)
class BenchConfig:
    """The settings of a benchmark.

    what: finetune: diffusion and flow policies, from scratch and from demonstrations.
    preset: full, or quick: a tiny budget that shows in about a minute that everything works.
    tasks, methods: which of those in configs/bench_protocol.yaml.
    seeds: of the runs that count.
    steps: environment steps of each run.
    learning_rates: the tuning trials of every method on every task; with one there is no tuning.
    tuning_steps, tuning_seeds: environment steps of a tuning trial, and its seeds, which are no others'.
    pretrain_steps: gradient steps of behaviour cloning.
    episodes: of each evaluation.
    processes: jobs at once.
    num_threads: CPU threads of each job.
    compile: all methods' gradients (algo.compile=true); the seconds of their updates then include it.
    work: the folder of all jobs; what is done there is not done again.
    out: where tables and plots go; default: results in the work folder.
    level, resamples: of the bootstrap intervals.
    protocol: tasks, bases and methods: configs/bench_protocol.yaml, each of its keys open to change.
    """

    what: str = "finetune"
    preset: str = "full"
    tasks: list[str] = field(
        default_factory=lambda: ["hopper", "walker2d", "half_cheetah", "reach", "push", "pick_cube"]
    )
    methods: list[str] = field(
        default_factory=lambda: [
            *("mlp_scratch", "ncdpo_k5_scratch", "ncdpo_k10_scratch", "ncdpo_k20_scratch", "dppo_k5_scratch"),
            *(
                "gaussian",
                "ncdpo",
                "dppo_k20",
                "dppo_published",
                "dppo_k5",
                "reinflow_k1",
                "reinflow_k2",
                "reinflow_k4",
            ),
        ]
    )
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    steps: int = 1_000_000
    learning_rates: list[float] = field(default_factory=lambda: [1e-4, 3e-4, 1e-3])
    tuning_steps: int = 300_000
    tuning_seeds: list[int] = field(default_factory=lambda: [100])
    pretrain_steps: int = 12_000
    episodes: int = 64
    processes: int = 2
    num_threads: int = 1
    compile: bool = False
    work: str = "runs/bench/finetune"
    out: str | None = None
    level: float = 0.95
    resamples: int = 2000
    protocol: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choice("what", self.what, ("finetune", "vla"))
        choice("preset", self.preset, PRESETS)
        for name in ("steps", "tuning_steps", "pretrain_steps", "episodes", "processes", "num_threads", "resamples"):
            positive(name, getattr(self, name))
        for name in ("tasks", "methods", "seeds", "learning_rates", "tuning_seeds"):
            entries = getattr(self, name)
            if not entries or len(set(entries)) < len(entries):
                raise ValueError(f"{name}={entries}: must name at least one, and none twice")
        if set(self.seeds) & set(self.tuning_seeds):
            raise ValueError(f"tuning_seeds={self.tuning_seeds}: must not be among seeds={self.seeds}")
        within("level", self.level, 0.5, 0.999)


SCHEMAS = {
    "Settings of embodied bench finetune": (BenchConfig, "bench"),
    "Settings of embodied bench vla": (VLABenchConfig, "bench_vla"),
}


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, or 1 if a job failed (what the others have shown is written all the same)."""
    if any(o.key_or_group == "what" and o.value() == "vla" for o in parse(argv)):
        return vla.main(argv)
    config = configure(argv)
    planner = make_planner(config)
    outcome = jobs.Outcome()

    def run(batch: list[jobs.Job]) -> None:
        done = jobs.run(batch, config.processes, lambda line: print(line, flush=True))
        outcome.done |= done.done
        outcome.failed |= done.failed
        outcome.skipped |= done.skipped

    rates = execute(planner, run)
    figures = collect(planner, rates)
    verdicts = claims.verdicts(figures, config.level, config.resamples)
    out = Path(config.out) if config.out else Path(config.work) / "results"
    tables.write(figures, verdicts, out, config.level, config.resamples, about(config, argv, outcome))
    print(tables.claims_table(verdicts))
    print(f"written to {out}")
    _tell(outcome)
    return 1 if outcome.failed else 0


def configure(argv: Sequence[str]) -> BenchConfig:
    """The settings: the preset's go before the defaults, the command line's before both."""
    composed = compose(BenchConfig, "bench", with_preset(PRESETS, argv))
    plain(composed)
    return typed(BenchConfig, composed)


def make_planner(config: BenchConfig) -> Planner:
    """What the settings ask for, checked."""
    with user_errors():
        protocol = Protocol.of(config.protocol, config.tasks, config.methods)
    budget = from_mapping(Budget, {f.name: getattr(config, f.name) for f in fields(Budget)}, "bench")
    return Planner(protocol, budget, Path(config.work).resolve())


def about(config: BenchConfig, argv: Sequence[str], outcome: jobs.Outcome) -> dict[str, Any]:
    """What made the numbers: the budget, the machine, and what is missing in them."""
    names = [f.name for f in fields(Budget)] + ["processes", "level", "resamples"]
    return {
        "budget": {name: getattr(config, name) for name in names},
        "failed": sorted(outcome.failed),
        "skipped": outcome.skipped,
        "provenance": provenance(config.seeds[0], ["embodied", "bench", *argv]),
    }


def _tell(outcome: jobs.Outcome) -> None:
    for name, reason in outcome.failed.items():
        print(f"failed: {name}: {reason}")
    if outcome.skipped:
        print(f"{len(outcome.skipped)} jobs were not run, since they need one that failed")
