"""The protocol as jobs: expert -> demonstrations -> bases -> methods x seeds -> evaluations.

A base is cloned once a task and shared by its methods; seeds are those of fine-tuning. Every method gets the same
number of tuning trials: each learning rate on seeds of its own, judged by the area under the learning curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embodied.metrics import read_jsonl

from .aggregate import area, curve_of
from .jobs import Job, suite_job
from .protocol import FINETUNE, Base, Method, Protocol, TaskPlan

CHECKPOINTS = 10  # of a run, to go on from where it was interrupted
MODES = {"deterministic": "true", "stochastic": "false"}
Rates = Mapping[tuple[str, str], float | None]
"""(task, method) -> learning rate; None: that of configs/finetune."""


@dataclass(frozen=True)
class Budget:
    """What a benchmark may spend; see ``BenchConfig`` for the meaning of each."""

    steps: int
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    tuning_steps: int
    tuning_seeds: tuple[int, ...]
    pretrain_steps: int
    episodes: int
    num_threads: int
    compile: bool = False


@dataclass(frozen=True)
class Planner:
    """Makes jobs. work: the folder that holds all of them."""

    protocol: Protocol
    budget: Budget
    work: Path

    # What methods start from ------------------------------------------------------------------------------------

    def demos(self, task: TaskPlan) -> list[Job]:
        """The expert, unless it is scripted, and its demonstrations, which come last."""
        before = [self.expert(task)] if task.expert_steps else []
        expert = str(before[0].out) if before else "scripted"
        arguments = [f"expert={expert}", f"episodes={task.episodes}", f"noise={task.noise}", "out={out}"]
        return [*before, self._job(f"{task.name}/demos", "demos", task, arguments, before)]

    def expert(self, task: TaskPlan) -> Job:
        """PPO by the task's recipe, stopped early."""
        arguments = [f"total_steps={task.expert_steps}", "seed=0", "run_dir={out}"]
        return self._job(f"{task.name}/expert", "train", task, arguments)

    def base(self, task: TaskPlan, base: Base) -> Job:
        """Behaviour cloning."""
        demos = self.demos(task)[-1]
        arguments = [f"policy={base.policy}", f"dataset={demos.out}", f"steps={self.budget.pretrain_steps}"]
        arguments += [*base.settings, "run_dir={out}"]
        return self._job(f"{task.name}/base/{base.name}", "pretrain", task, arguments, [demos])

    def bases(self, task: TaskPlan) -> list[Job]:
        """All that methods start from, evaluated."""
        jobs = self.demos(task) if self.protocol.bases else []
        for base in self.protocol.bases.values():
            made = self.base(task, base)
            jobs += [made, *self.evaluations(made)]
        return jobs

    # Methods ----------------------------------------------------------------------------------------------------

    def training(self, task: TaskPlan, method: Method, rate: float | None, seed: int, steps: int, stage: str) -> Job:
        """One run of a method."""
        base = None if method.base is None else self.base(task, self.protocol.bases[method.base])
        compiled = ["algo.compile=true"] if self.budget.compile else []
        arguments = [f"policy={method.policy}", *task.train, *compiled, *method.settings]
        arguments += [] if rate is None else [*method.learning, f"algo.learning_rate={rate}"]
        arguments += [f"init={base.out}"] if base else []
        arguments += [f"total_steps={steps}", f"checkpoint_interval={max(1, steps // CHECKPOINTS)}"]
        arguments += [f"seed={seed}", "run_dir={out}"]
        name = f"{task.name}/{stage}/{method.name}/seed{seed}"
        return self._job(name, "train", task, arguments, [base] if base else [])

    def tuning(self) -> dict[tuple[str, str], list[list[Job]]]:
        """(task, method) -> for every learning rate its runs, one a tuning seed; empty if there is one rate only.

        A method that says its own has no trials, nor has fine-tuning on a task whose files are tuned.
        """
        if len(self.budget.learning_rates) == 1:
            return {}
        return {
            (name, method.name): [
                [
                    self.training(task, method, rate, seed, self.budget.tuning_steps, f"tuning_{rate:g}")
                    for seed in self.budget.tuning_seeds
                ]
                for rate in self.budget.learning_rates
            ]
            for name, task in self.protocol.tasks.items()
            for method in self.protocol.methods_of(name)
            if method.learning_rate is None and not by_files(task, method)
        }

    def final(self, rates: Rates) -> dict[tuple[str, str], list[Job]]:
        """(task, method) -> its runs, one a seed."""
        return {
            (name, method.name): [
                self.training(task, method, rates[name, method.name], seed, self.budget.steps, "final")
                for seed in self.budget.seeds
            ]
            for name, task in self.protocol.tasks.items()
            for method in self.protocol.methods_of(name)
            if (name, method.name) in rates
        }

    def evaluations(self, run: Job) -> list[Job]:
        """A run measured with its most likely actions, and with drawn ones."""
        arguments = ["evaluate", f"checkpoint={run.out}", f"episodes={self.budget.episodes}", "seed=1000"]
        arguments += [f"num_threads={self.budget.num_threads}", "device=cpu", "out={out}"]
        return [
            suite_job(f"{run.name}/{mode}", [*arguments, f"deterministic={value}"], self.work, [run])
            for mode, value in MODES.items()
        ]

    def _job(self, name: str, command: str, task: TaskPlan, arguments: Sequence[str], needs: Sequence[Job] = ()) -> Job:
        common = [command, f"task={task.name}", *task.settings, f"num_threads={self.budget.num_threads}", "device=cpu"]
        return suite_job(name, [*common, *arguments], self.work, needs)


def execute(planner: Planner, run: Callable[[list[Job]], object]) -> Rates:
    """Run everything: bases and tuning trials first, then the runs that count; the learning rates that were chosen.

    The first seed of every method comes before the second of any, so that what was stopped early has something to say
    of all: the same command with the seeds that are done writes their tables.
    """
    tasks = planner.protocol.tasks
    first = [job for task in tasks.values() for job in planner.bases(task)]
    tuning = planner.tuning()
    run(first + [job for trials in tuning.values() for runs in trials for job in runs])
    rates = choose(planner, tuning)
    final = [
        job
        for runs in zip(*planner.final(rates).values(), strict=True)
        for made in runs
        for job in (made, *planner.evaluations(made))
    ]
    run(first + final)
    return rates


def by_files(task: TaskPlan, method: Method) -> bool:
    """Whether a method learns a task as configs/finetune says; one that says its own learning rate never does."""
    return task.tuned and method.stage == FINETUNE and method.learning_rate is None


def choose(planner: Planner, tuning: Mapping[tuple[str, str], list[list[Job]]]) -> Rates:
    """The learning rate with the best mean area under the curve; a method whose trials all failed has none.

    A rate of which a run is missing is out, whatever its other runs show.
    """
    rates = planner.budget.learning_rates
    only = rates[0] if len(rates) == 1 else None
    chosen: dict[tuple[str, str], float | None] = {}
    for name, task in planner.protocol.tasks.items():
        for method in planner.protocol.methods_of(name):
            if by_files(task, method):
                chosen[name, method.name] = None
            elif (rate := method.learning_rate or only) is not None:
                chosen[name, method.name] = rate
    for key, trials in tuning.items():
        figure = f"episode/{planner.protocol.tasks[key[0]].figure}"
        scores = [np.mean([_score(job, figure, planner.budget.tuning_steps) for job in runs]) for runs in trials]
        if np.isfinite(scores).any():
            chosen[key] = rates[int(np.nanargmax(scores))]
    return chosen


def _score(job: Job, key: str, budget: int) -> float:
    if not job.done:
        return float("nan")
    steps, values = curve_of(read_jsonl(job.out / "metrics.jsonl"), key)
    return area(steps, values, budget) if len(steps) else float("nan")
