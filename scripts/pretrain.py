"""Learn a policy from demonstrations (behaviour cloning); `embodied train init=RUN` goes on from there.

embodied pretrain task=hopper policy=mlp dataset=data/hopper
embodied pretrain task=pick_cube policy=reinflow dataset=data/pick_cube task.chunk=4 steps=12000
embodied pretrain task=pick_cube policy=dppo dataset=data/pick_cube padding=drop normalization=minmax
embodied pretrain resume=runs/pick_cube/2026-01-31_12-00-00-pretrain-seed0
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig

import policies
from embodied import checkpoint as checkpoints
from embodied.configuration import choice
from embodied.datasets import Episodes, load_episodes
from embodied.datasets.fitting import histories
from embodied.datasets.scaling import METHODS, scale_of
from embodied.display import make_display
from embodied.imitation import CloneResult, ImitationConfig, Record, clone
from embodied.types import TaskSpec

from .common import RUNS, make_env, pick_device, user_errors
from .config import UserError, compose, plain, typed
from .runs import check_free, given, open_run, resumed, stored

LEARNER = {field.name for field in fields(ImitationConfig)}


@dataclass(frozen=True)
class PretrainConfig(ImitationConfig):
    """The settings of a pretraining, beside those of behaviour cloning.

    task: what the demonstrations show: a choice of configs/task, each of its keys open to change.
    policy: what learns: a choice of configs/policy.
    dataset: the demonstrations, in any format that `embodied convert` knows, or several of them, [A,B]; their images
        are decoded to a file beside run_dir and need not fit into memory.
    actions: how actions are normalised: minmax, quantiles, mean_std or none; auto: minmax where the task has no limits
        for them, none where it has. The constants are kept with the policy.
    device: where it runs: auto, cpu, cuda or cuda:<number>.
    run_dir: where the run is kept; default: runs/<task>/<date-time>-pretrain-seed<seed>.
    resume: a run folder to continue; of the other settings only a few may change then.
    """

    task: Any = MISSING
    policy: Any = MISSING
    dataset: Any = MISSING
    actions: str = "auto"
    device: str = "auto"
    run_dir: str | None = None
    resume: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("actions", self.actions, ("auto", *METHODS))


SCHEMA = PretrainConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, or 130 if it was stopped."""
    composed = configure(argv)
    config, settings = typed(PretrainConfig, composed), plain(composed)
    device, source = pick_device(config.device), _source(config)
    with user_errors():
        data = load_episodes(named(config.dataset), Path(str(config.run_dir)).parent)
        spec = _spec(settings["task"])
        histories(spec, data)  # data that do not fit are told of before anything is written
        scaling = action_scaling(spec, data, config.actions)
        if scaling is not None:
            settings["policy"]["action_scaling"] = scaling
        torch.manual_seed(config.seed)
        policy = policies.make(settings["policy"], spec)
    for line in about(data, policy):
        print(line)
    run_dir = open_run(composed, settings)
    result = _clone(policy, spec, data, config, run_dir, source, device, stored(settings))
    print(closing_words(result, spec))
    print(json.dumps({"run_dir": str(run_dir), "checkpoint": str(result.checkpoint), **result.record}))
    return 0 if result.finished else 130


def named(dataset: Any) -> list[str]:
    """The folders or files that ``dataset=`` names."""
    if isinstance(dataset, str):
        return [dataset]
    if not isinstance(dataset, list | tuple) or not dataset:
        raise UserError(f"dataset={dataset}: must be a folder or a file, or several, [A,B]")
    return [str(path) for path in dataset]


def configure(argv: Sequence[str]) -> DictConfig:
    """The checked configuration of one run, fresh or resumed, with the folder that it is kept in."""
    run = given(argv, "resume")
    if run is not None:
        return resumed(PretrainConfig, "pretrain", run, argv)
    config = compose(PretrainConfig, "pretrain", argv)
    typed(PretrainConfig, config)
    if config.run_dir is None:
        name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-pretrain-seed{config.seed}"
        config.run_dir = str(RUNS / config.task.name / name)
    check_free(Path(config.run_dir), "pretrain")
    return config


def _source(config: PretrainConfig) -> Path | None:
    """The checkpoint that a resumed run goes on from; None for a fresh run, or one that has none yet."""
    source = checkpoints.latest(Path(str(config.run_dir))) if config.resume else None
    if source is None:
        return None
    with user_errors():
        done = checkpoints.load(source).env_steps
    if done >= config.steps:
        raise UserError(f"the run is complete: {done:,} steps of {config.steps:,}")
    return source


def _spec(task: dict[str, Any]) -> TaskSpec:
    env = make_env(task, num_worlds=1, device=torch.device("cpu"), num_threads=1)
    env.close()
    return env.spec


def action_scaling(spec: TaskSpec, data: Episodes, method: str) -> dict[str, list[float]] | None:
    """``centre`` and ``width`` of every action element for ``policies.make``; None where they stay as they are."""
    if method == "auto":
        method = "minmax" if spec.action.low is None or spec.action.high is None else "none"
    if method == "none":
        return None
    return {name: x.tolist() for name, x in scale_of(data.action, method)._asdict().items()}


def _clone(
    policy: Any,
    spec: TaskSpec,
    data: Episodes,
    config: PretrainConfig,
    run_dir: Path,
    source: Path | None,
    device: torch.device,
    settings: dict[str, Any],
) -> CloneResult:
    learner = ImitationConfig(**{name: getattr(config, name) for name in LEARNER})
    display = make_display(f"{spec.name}  {run_dir}")
    listeners: list[Callable[[Record], None]] = [
        EarlyReport(config.steps),
        lambda record: display.update(record, config.steps),
    ]
    try:
        with user_errors():
            arguments: dict[str, Any] = {"resume": source, "device": device, "run_config": settings}
            return clone(policy, spec, data, learner, run_dir, on_progress=listeners, **arguments)
    except FloatingPointError as error:
        raise UserError(str(error)) from error
    finally:
        display.close()


# What is said -------------------------------------------------------------------------------------------------------


def about(data: Episodes, policy: Any) -> list[str]:
    """What is about to be learnt from: lines of text."""
    lengths, known = data.lengths.float(), data.success[data.success.isfinite()]
    success = f", {100 * known.mean():.0f} % successful" if len(known) else ""
    low, high = data.action.min().item(), data.action.max().item()
    rate = 1 / data.info.control_dt
    parameters = sum(p.numel() for p in policy.parameters())
    return [
        f"{len(data)} episodes of {data.info.task}, {data.num_frames:,} frames at {rate:g} Hz{success}",
        f"return {data.returns.mean():.4g} (std {data.returns.std(correction=0):.3g}), length {lengths.mean():.0f} "
        f"({int(lengths.min())} to {int(lengths.max())}), actions in [{low:.3g}, {high:.3g}]",
        f"{type(policy).__name__} with {parameters:,} parameters",
    ]


class EarlyReport:
    """Prints, once, what the first steps promise: after them a mistake has cost seconds only.

    steps: of the whole pretraining.
    """

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, False

    def __call__(self, record: Record) -> None:
        """Take the first log record."""
        if not self.done:
            self.done = True
            print(early_report(record, self.steps), flush=True)


def early_report(record: Record, steps: int) -> str:
    """``after 100 steps: loss 0.21, held out 0.23, action error 0.11; 640 steps/s, ready in about 0:19``."""
    named = {
        "loss": "loss",
        "validation_loss": "held out",
        "action_error": "action error",
        "first_action_error": "of first actions",
    }
    figures = ", ".join(f"{name} {record[key]:.3g}" for key, name in named.items() if key in record)
    left = math.ceil((steps - record["step"]) / record["steps_per_second"])
    pace = f"{record['steps_per_second']:.0f} steps/s, ready in about {left // 60}:{left % 60:02d}"
    return f"after {record['step']} steps: {figures}; {pace}"


def closing_words(result: CloneResult, spec: TaskSpec) -> str:
    """What was made, and what can be done with it."""
    if not result.finished:
        return (
            f"stopped at step {result.steps:,}, saved as {result.checkpoint}\n"
            f"continue with: embodied pretrain resume={result.run_dir}"
        )
    return (
        f"pretrained on {spec.name} for {result.steps:,} steps: {result.run_dir}\n"
        f"next: embodied evaluate checkpoint={result.run_dir}\n"
        f"      embodied train task={spec.name} init={result.run_dir}"
    )
