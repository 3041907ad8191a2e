"""Train a policy.

embodied train task=go2_velocity
embodied train task=hopper policy=gru algo.clip_range=0.1 total_steps=2e6
embodied train -m task=hopper seed=0,1,2
embodied train task=pick_cube init=runs/pick_cube/PRETRAINED policy=dppo
embodied train resume=runs/go2_velocity/2026-01-31_12-00-00-seed0
torchrun --nproc-per-node 2 -m scripts.cli train task=go2_velocity
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig

import policies
from embodied import checkpoint as checkpoints
from embodied import distributed
from embodied.checks import check_groups, check_minibatches
from embodied.gradients import CompileError, check_compiler
from embodied.ppo import actor_and_critic
from embodied.symmetry import MirrorImages
from embodied.train import TrainConfig, TrainingStopped, TrainResult, train

from .agents import read_config
from .common import make_env, pick_device, resolve_checkpoint, user_errors
from .config import UserError, compose, expand, plain, typed
from .runs import RESUMABLE as RESUMABLE
from .runs import check_free, closing_words, given, open_run, resumed, say, shown, source_of, stored
from .starting import check_start, choices, inherit

LEARNER = {field.name for field in fields(TrainConfig)}


@dataclass(frozen=True)
class RunConfig(TrainConfig):
    """The settings of a run, beside those of the learner.

    task: what to learn: a choice of configs/task, each of its keys open to change (task.action_scale=0.3); every task
        takes task.chunk, the actions executed per decision, and task.history, the observations it is made on.
    policy: what learns it: a choice of configs/policy.
    device: where it runs: auto, cpu, cuda or cuda:<number>.
    engine: the physics: auto, batch (CPU threads) or warp (CUDA).
    num_worlds: simulations side by side, in each process.
    num_threads: CPU threads of the simulation; 0: as many as there are.
    run_dir: where the run is kept; default: runs/<task>/<date-time>-seed<seed>.
    init: a pretrained run or checkpoint to start from: its weights, the constants of its normaliser, and its settings
        of the policy, of chunks and images, and of which of many tasks it is, where none are given here.
    resume: a run folder to continue; of the other settings only a few may change then.
    """

    task: Any = MISSING
    policy: Any = MISSING
    device: str = "auto"
    engine: str = "auto"
    num_worlds: int = 1024
    num_threads: int = 0
    run_dir: str | None = None
    init: str | None = None
    resume: str | None = None


SCHEMA = RunConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; 0 when all that was asked for was trained, 1 if a run diverged, 130 if it was stopped."""
    sweep = "-m" in argv or "--multirun" in argv
    overrides = [argument for argument in argv if argument not in ("-m", "--multirun")]
    jobs = expand(overrides) if sweep else [overrides]
    configs = [configure(job) for job in jobs]  # all of them before the first hour is spent
    if len(configs) > 1:
        _part_folders(configs, jobs)
    status = 0
    for number, config in enumerate(configs, 1):
        if len(configs) > 1:
            say(f"run {number} of {len(configs)}: {' '.join(jobs[number - 1])}")
        try:
            result = run(config)
        except TrainingStopped as error:
            say(f"{error}")
            status = 1
            continue
        if not result.finished:
            return 130
    return status


# Configuration -----------------------------------------------------------------------------------------------------


def configure(argv: Sequence[str]) -> DictConfig:
    """The checked configuration of one run, fresh or resumed."""
    run = given(argv, "resume")
    config = fresh(argv) if run is None else resumed(RunConfig, "train", run, argv)
    typed(RunConfig, config)
    if config.resume is None and config.run_dir is not None:
        check_free(Path(config.run_dir), "train")
    return config


def fresh(argv: Sequence[str]) -> DictConfig:
    """The configuration of a new run, which may start from a pretrained one."""
    init = given(argv, "init")
    if init is None:
        return compose(RunConfig, "train", argv)
    pretrained = read_config(init)
    argv = [*choices(pretrained, argv), *argv]
    config = compose(RunConfig, "train", argv)
    inherit(config, pretrained, argv)
    return config


def _part_folders(configs: list[DictConfig], jobs: list[list[str]]) -> None:
    """Give each run of a sweep its own folder below the run_dir that they were all given."""
    common = set.intersection(*(set(job) for job in jobs))
    for config, job in zip(configs, jobs, strict=True):
        if config.run_dir is not None:
            own = "_".join(part for part in job if part not in common)
            # Letters that need no quoting when the folder is named on a command line.
            config.run_dir = str(Path(config.run_dir) / re.sub(r"[^\w.-]+", "-", own))
            check_free(Path(config.run_dir), "train")


# The run -----------------------------------------------------------------------------------------------------------


def run(config: DictConfig) -> TrainResult:
    """Build environment and policy, and train."""
    device = distributed.init(pick_device(config.device))
    settings = plain(config)
    seed = config.seed + distributed.rank()
    env = make_env(
        settings["task"],
        num_worlds=config.num_worlds,
        device=device,
        engine=config.engine,
        num_threads=config.num_threads,
        seed=seed,
    )
    try:
        torch.manual_seed(config.seed)
        with user_errors():
            policy = policies.make(settings["policy"], env.spec)
            learner = TrainConfig.from_mapping({k: v for k, v in settings.items() if k in LEARNER})
            MirrorImages.of(policy, env.spec.symmetry, learner.algo.symmetry)  # fails before a folder is made
            check_groups(env, learner.algo)
            check_minibatches(env, policy, learner.algo)
            check_compiler(learner.algo, device)
            actor_and_critic(policy)  # there is something to learn
        begun = config.resume is not None and checkpoints.latest(Path(config.run_dir)) is not None
        init = None if config.init is None or begun else resolve_checkpoint(config.init)
        if init is not None:
            check_start(init, policy, env.spec)
        run_dir = open_run(config, settings)
        source = source_of(config, run_dir, learner.total_steps)
        return _train(env, policy, learner, run_dir, source, stored(settings), init)
    finally:
        env.close()


def _train(
    env: Any,
    policy: Any,
    learner: TrainConfig,
    run_dir: Path,
    source: Path | None,
    config: dict[str, Any],
    init: Path | None,
) -> TrainResult:
    say(f"{'resuming' if source else 'training'} {env.spec.name} for {learner.total_steps:,} steps in {run_dir}")
    if learner.algo.compile:
        say("algo.compile: the first update waits for a compiler, for some seconds")
    arguments = {"name": run_dir.name, "project": "embodied", "config": config}
    with shown(env.spec, run_dir, learner.total_steps) as listeners:
        try:
            result = train(env, policy, learner, run_dir, source, listeners, config, arguments, init)
        except (checkpoints.CheckpointError, CompileError) as error:
            raise UserError(str(error)) from error
    closing_words(result, env.spec, "train")
    return result
