"""Methods of learning from one warm-up checkpoint: supervised fine-tuning and reinforcement learning.

demonstrations -> warm-up -> each method x seed -> the checkpoints that are compared, by two budgets:
``samples``: the last checkpoint, so that RL methods have had equally many environment steps (SFT has demonstrations);
``time``: the last checkpoint within the wall time of SFT, or of the fastest run where SFT is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied import checkpoint as checkpoints
from embodied.configuration import choice, from_mapping, positive, whole
from embodied.metrics import read_jsonl

from ..common import user_errors
from ..config import UserError
from . import jobs
from .jobs import Job, module_job, suite_job
from .vla_config import VLABenchConfig
from .vla_methods import WARM_UP

SFT, RL = "sft", "rl"
SAMPLES, TIME = "samples", "time"
BUDGETS = (SAMPLES, TIME)
CHECKPOINTS = 20  # of a run of reinforcement learning, to choose one by its time
APPROACH = 10  # steps
FINE_TUNING = "scripts.benching.vla_sft"


@dataclass(frozen=True)
class Cloning:
    """episodes: demonstrations.  steps: gradient steps.

    approaches: beginnings of demonstrations, beside them, of APPROACH steps each: a demonstration shows one scene, and
        its later frames show the hand where the object is, so that it takes many scenes to teach an eye to find it.
        They are cut, not finished, so that then only whole chunks are learnt from.
    """

    episodes: int
    steps: int
    approaches: int = 0

    def __post_init__(self) -> None:
        positive("episodes", self.episodes)
        positive("steps", self.steps)
        whole("approaches", self.approaches, 0)

    @property
    def padding(self) -> str:
        """See :class:`embodied.datasets.Windows`."""
        return "drop" if self.approaches else "repeat"


@dataclass(frozen=True)
class Method:
    """kind: sft goes on cloning, rl is `embodied train`.  settings: overrides of the latter, after those of all."""

    kind: str = RL
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choice("protocol.methods.<name>.kind", self.kind, (SFT, RL))


@dataclass(frozen=True)
class Plan:
    """How methods are trained; configs/bench_vla.yaml.

    task: overrides of the task, for every command.  policy: of the policy, for the warm-up, from which all inherit it.
    chunk: actions of a decision.  warmup, sft: what is cloned.  steps: environment steps of reinforcement learning.
    train: overrides of `embodied train` for all methods.
    """

    task: tuple[str, ...]
    policy: tuple[str, ...]
    chunk: int
    warmup: Cloning
    sft: Cloning
    steps: int
    train: tuple[str, ...]
    methods: Mapping[str, Method]

    @classmethod
    def of(cls, data: Mapping[str, Any], compare: Sequence[str]) -> Plan:
        """From configuration; an unknown key is an error that suggests the nearest."""
        with user_errors():
            cloning = {name: from_mapping(Cloning, data[name], f"protocol.{name}") for name in ("warmup", "sft")}
            methods = {n: from_mapping(Method, data["methods"][n], f"protocol.methods.{n}") for n in compare}
            plan: Plan = from_mapping(cls, {**data, **cloning, "methods": methods}, "protocol")
            positive("protocol.steps", plan.steps)
            if plan.chunk > APPROACH:
                raise ValueError(f"protocol.chunk={plan.chunk}: must be at most {APPROACH}, the steps of an approach")
        return plan


@dataclass(frozen=True)
class Trained:
    """sources: policy -> checkpoint folder.

    methods: budget -> method -> ``policies``, one a seed, and what they have cost: ``env_steps``, for SFT those of its
    demonstrations, and ``seconds`` of learning; who demonstrates costs nothing.
    """

    sources: dict[str, str]
    methods: dict[str, dict[str, dict[str, Any]]]


# Jobs ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planner:
    """Makes jobs.

    num_threads: CPU threads of a job.  work: the folder that holds all of them.  processes: jobs at once; the warm-up,
    which all wait for, has the threads of all.
    """

    plan: Plan
    num_threads: int
    work: Path
    processes: int = 1

    def demos(self, name: str) -> list[Job]:
        """Of the scripted expert, for the warm-up or for SFT: whole demonstrations and, if asked for, approaches."""
        cloning, seed = {WARM_UP: (self.plan.warmup, 0), SFT: (self.plan.sft, 1)}[name]
        made = [self._demos(name, cloning.episodes, seed, "task.cut_after_success=6")]
        if cloning.approaches:
            made.append(self._demos(f"{name}_approaches", cloning.approaches, 100 + seed, f"task.cut_after={APPROACH}"))
        return made

    def _demos(self, name: str, episodes: int, seed: int, setting: str) -> Job:
        arguments = ["expert=scripted", setting, f"episodes={episodes}", f"seed={seed}", "out={out}"]
        return self._suite(f"demos/{name}", "demos", arguments)

    def warmup(self) -> Job:
        """What every method starts from."""
        demos = self.demos(WARM_UP)
        data = f"dataset=[{','.join(str(job.out) for job in demos)}]"
        cloning = self.plan.warmup
        arguments = [f"task.chunk={self.plan.chunk}", data, f"padding={cloning.padding}", f"steps={cloning.steps}"]
        arguments += [*self.plan.policy, "run_dir={out}"]
        return self._suite(WARM_UP, "pretrain", arguments, demos, self.num_threads * self.processes)

    def training(self, name: str, seed: int) -> Job:
        """A run of a method."""
        method, base = self.plan.methods[name], self.warmup()
        label = f"train/{name}/seed{seed}"
        if method.kind == SFT:
            demos, cloning = self.demos(SFT), self.plan.sft
            settings: dict[str, Any] = {"init": str(base.out), "dataset": [str(job.out) for job in demos]}
            settings |= {"padding": cloning.padding, "steps": cloning.steps}
            settings |= {"seed": seed, "num_threads": self.num_threads}
            return module_job(label, FINE_TUNING, settings, self.work, [base, *demos], resumes=True)
        steps = self.plan.steps
        arguments = [f"init={base.out}", f"total_steps={steps}", f"checkpoint_interval={max(1, steps // CHECKPOINTS)}"]
        arguments += ["keep_checkpoints=0", f"seed={seed}", *self.plan.train, *method.settings, "run_dir={out}"]
        return self._suite(label, "train", arguments, [base])

    def all(self, seeds: int) -> list[Job]:
        """Every job that trains, with what it needs."""
        first = self.demos(WARM_UP)
        if any(method.kind == SFT for method in self.plan.methods.values()):
            first += self.demos(SFT)  # before the warm-up, which takes all threads
        return [*first, self.warmup()] + [
            self.training(name, seed) for name in self.plan.methods for seed in range(seeds)
        ]

    def _suite(
        self, name: str, command: str, arguments: Sequence[str], needs: Sequence[Job] = (), threads: int | None = None
    ) -> Job:
        threads = threads or self.num_threads
        common = [command, "task=put_on_plate", *self.plan.task, f"num_threads={threads}", "device=cpu"]
        return suite_job(name, [*common, *arguments], self.work, needs)


def train(config: VLABenchConfig, work: Path, outcome: jobs.Outcome) -> Trained:
    """Train everything; the checkpoints that are compared.

    Raises:
        UserError: the warm-up failed, so there is nothing to compare.
    """
    planner = Planner(Plan.of(config.protocol, config.compare), config.num_threads, work, config.processes)
    done = jobs.run(planner.all(config.seeds), config.processes, lambda line: print(line, flush=True))
    outcome.failed |= done.failed
    outcome.skipped |= done.skipped
    if not planner.warmup().done:
        raise UserError(f"the warm-up failed: {'; '.join(done.failed.values())}")
    return chosen(planner, config.seeds)


# Budgets ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A checkpoint: its step (of environment or gradient), and the seconds of learning that it took."""

    path: Path
    step: int
    seconds: float


def points(run_dir: Path) -> list[Point]:
    """The checkpoints of a run, oldest first; steps without a record of their time are left out."""
    seconds = {record["step"]: float(record["seconds"]) for record in read_jsonl(run_dir / "metrics.jsonl")}
    found = [(path, int(path.name.removeprefix("step_"))) for path in checkpoints.complete(run_dir)]
    return [Point(path, step, seconds[step]) for path, step in found if step in seconds]


def chosen(planner: Planner, seeds: int) -> Trained:
    """The checkpoints of both budgets; one that stands for both is there once."""
    runs = {
        (name, seed): points(job.out)
        for name in planner.plan.methods
        for seed in range(seeds)
        if (job := planner.training(name, seed)).done
    }
    sources, methods = {WARM_UP: str(planner.warmup().out)}, {budget: dict[str, Any]() for budget in BUDGETS}
    limit = time_limit(planner.plan, runs)
    for (name, seed), found in runs.items():
        last, in_time = found[-1], within(found, limit)
        policy = f"{name}-s{seed}"
        timed = policy if in_time == last else f"{policy}-time"
        sources |= {policy: str(last.path), timed: str(in_time.path)}
        for budget, label, point in ((SAMPLES, policy, last), (TIME, timed, in_time)):
            entry = methods[budget].setdefault(name, {"policies": [], "env_steps": [], "seconds": []})
            cost = point.step if planner.plan.methods[name].kind == RL else demonstrated(planner)
            for key, value in (("policies", label), ("env_steps", cost), ("seconds", point.seconds)):
                entry[key].append(value)
    return Trained(sources, methods)


def demonstrated(planner: Planner) -> int:
    """Environment steps in the demonstrations of supervised fine-tuning."""
    return sum(int(jobs.last_json(job.log)["frames"]) for job in planner.demos(SFT))


def time_limit(plan: Plan, runs: Mapping[tuple[str, int], Sequence[Point]]) -> float:
    """Seconds of learning: of SFT's slowest run, which has no earlier checkpoint; else of the fastest run."""
    ends = {key: found[-1].seconds for key, found in runs.items()}
    supervised = [end for (name, _), end in ends.items() if plan.methods[name].kind == SFT]
    return max(supervised) if supervised else min(ends.values(), default=0.0)


def within(found: Sequence[Point], limit: float) -> Point:
    """The last checkpoint that took no longer; the first one where all did."""
    early = [point for point in found if point.seconds <= limit]
    return early[-1] if early else found[0]
