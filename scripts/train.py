"""Train a policy.

embodied train task=go2_velocity
embodied train task=hopper policy=gru algo.clip_range=0.1 total_steps=2e6
embodied train -m task=hopper seed=0,1,2
embodied train task=pick_cube init=runs/pick_cube/PRETRAINED policy=dppo
embodied train resume=runs/go2_velocity/2026-01-31_12-00-00-seed0
torchrun --nproc-per-node 2 -m scripts.cli train task=go2_velocity
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig, OmegaConf

import policies
from embodied import checkpoint as checkpoints
from embodied import distributed, provenance
from embodied.display import make_display
from embodied.symmetry import MirrorImages
from embodied.train import TrainConfig, TrainingStopped, TrainResult, train
from embodied.types import TaskSpec

from .common import RUNS, make_env, pick_device, read_config, resolve_checkpoint, user_errors
from .config import UserError, compose, expand, nearest, parse, plain, schema_node, typed
from .overrides import check
from .starting import check_start, choices, inherit

CONFIG = "config.yaml"
LEARNER = {field.name for field in fields(TrainConfig)}
RESUMABLE = ("total_steps", "checkpoint_interval", "keep_checkpoints", "log_interval", "num_threads", "wandb")
"""What may be changed when a run is resumed: none of it changes what is learnt from here on, but for how long."""


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
        of the policy and of chunks, where none are given here.
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


def say(message: str) -> None:
    """Tell the user, once however many processes there are."""
    if distributed.is_main():
        print(message, flush=True)


# Configuration -----------------------------------------------------------------------------------------------------


def configure(argv: Sequence[str]) -> DictConfig:
    """The checked configuration of one run, fresh or resumed."""
    resume = next((str(o.value()) for o in parse(argv) if o.key_or_group == "resume"), None)
    config = fresh(argv) if resume in (None, "None") else resumed(resume, argv)
    typed(RunConfig, config)
    if config.resume is None and config.run_dir is not None:
        _check_free(Path(config.run_dir))
    return config


def fresh(argv: Sequence[str]) -> DictConfig:
    """The configuration of a new run, which may start from a pretrained one."""
    init = next((str(o.value()) for o in parse(argv) if o.key_or_group == "init"), "None")
    if init == "None":
        return compose(RunConfig, "train", argv)
    pretrained = read_config(init)
    argv = [*choices(pretrained, argv), *argv]
    config = compose(RunConfig, "train", argv)
    inherit(config, pretrained, argv)
    return config


def resumed(run: str, argv: Sequence[str]) -> DictConfig:
    """The configuration of a run to be continued: its own, with what may be changed changed."""
    run_dir = _run_to_resume(Path(run).expanduser())
    node = OmegaConf.load(run_dir / CONFIG)
    assert isinstance(node, DictConfig)
    own = {**plain(node), "run_dir": str(run_dir), "resume": str(run_dir)}
    config = OmegaConf.merge(schema_node(RunConfig), own)
    assert isinstance(config, DictConfig)
    overrides = [o for o in parse(argv) if o.key_or_group != "resume"]
    for override in overrides:
        key = override.key_or_group
        if key not in RESUMABLE:
            raise UserError(
                f"{override.input_line}: a resumed run keeps its settings, for others start a new run; "
                f"{nearest(key, RESUMABLE, 'open to change')}"
            )
        check(config, override)
        config[key] = override.value()
    return config


def _run_to_resume(path: Path) -> Path:
    """The run folder meant by it or by its newest checkpoint."""
    run_dir = path.parent.parent if path.parent.name == "checkpoints" else path
    if not (run_dir / CONFIG).exists():
        found = sorted(str(p.parent) for p in RUNS.glob(f"*/*/{CONFIG}"))
        raise UserError(f"resume={path}: not a run folder ({CONFIG} is missing); {nearest(str(path), found, 'runs')}")
    newest = checkpoints.latest(run_dir)
    if run_dir != path and newest is not None and path.resolve() != newest.resolve():
        raise UserError(f"resume={path}: a run continues from its newest checkpoint, {newest.name}: resume={run_dir}")
    return run_dir


def _check_free(run_dir: Path) -> None:
    if not run_dir.exists() or (run_dir.is_dir() and not any(run_dir.iterdir())):
        return
    if (run_dir / CONFIG).exists():
        raise UserError(
            f"run_dir={run_dir} holds a run already. Continue it: embodied train resume={run_dir}; or choose another"
        )
    raise UserError(f"run_dir={run_dir} is there and not an empty folder; choose another")


def _part_folders(configs: list[DictConfig], jobs: list[list[str]]) -> None:
    """Give each run of a sweep its own folder below the run_dir that they were all given."""
    common = set.intersection(*(set(job) for job in jobs))
    for config, job in zip(configs, jobs, strict=True):
        if config.run_dir is not None:
            own = "_".join(part for part in job if part not in common)
            # Letters that need no quoting when the folder is named on a command line.
            config.run_dir = str(Path(config.run_dir) / re.sub(r"[^\w.-]+", "-", own))
            _check_free(Path(config.run_dir))


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
        init = None if config.init is None or config.resume else resolve_checkpoint(config.init)
        if init is not None:
            check_start(init, policy, env.spec)
        run_dir = _open_run(config, settings)
        source = checkpoints.latest(run_dir) if config.resume else None
        _check_unfinished(source, learner.total_steps)
        return _train(env, policy, learner, run_dir, source, _stored(settings), init)
    finally:
        env.close()


def _train(
    env: Any,
    policy: Any,
    learner: TrainConfig,
    run_dir: Path,
    source: Path | None,
    stored: dict[str, Any],
    init: Path | None,
) -> TrainResult:
    say(f"{'resuming' if source else 'training'} {env.spec.name} for {learner.total_steps:,} steps in {run_dir}")
    display = make_display(f"{env.spec.name}  {run_dir}", env.spec.success_metric) if distributed.is_main() else None
    listeners = [lambda record: display.update(record, learner.total_steps)] if display else []
    try:
        arguments = {"name": run_dir.name, "project": "embodied", "config": stored}
        result = train(env, policy, learner, run_dir, source, listeners, stored, arguments, init)
    finally:
        if display:
            display.close()
    _closing_words(result, env.spec)
    return result


def _closing_words(result: TrainResult, spec: TaskSpec) -> None:
    run_dir = result.run_dir
    if not result.finished:
        say(f"stopped at step {result.env_steps:,}, saved as {result.checkpoint}")
        say(f"continue with: embodied train resume={run_dir}")
        return
    say(f"trained {spec.name} for {result.env_steps:,} steps: {run_dir}")
    say(f"next: embodied evaluate checkpoint={run_dir}")
    say(f"      embodied play checkpoint={run_dir}")


def _open_run(config: DictConfig, settings: dict[str, Any]) -> Path:
    """The run folder, with configuration and provenance in it; rank 0 decides which."""
    run_dir = Path(config.run_dir) if config.run_dir else _new_folder(settings["task"]["name"], config.seed)
    run_dir = Path(distributed.gather(str(run_dir))[0])
    if distributed.is_main():
        run_dir.mkdir(parents=True, exist_ok=True)
        temporary = run_dir / (CONFIG + ".tmp")
        temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(_stored(settings))), encoding="utf-8")
        temporary.replace(run_dir / CONFIG)
        _note_provenance(run_dir / "provenance.json", config.seed)
    distributed.barrier()
    return run_dir


def _note_provenance(path: Path, seed: int) -> None:
    """Write where the run comes from; a resumed one keeps what stands there and adds itself to ``resumed``."""
    command = ["embodied", *sys.argv[1:]]
    if not path.exists():
        provenance.write(path, seed, command)
        return
    first = json.loads(path.read_text(encoding="utf-8"))
    first.setdefault("resumed", []).append(provenance.provenance(seed, command))
    path.write_text(json.dumps(first, indent=2) + "\n", encoding="utf-8")


def _stored(settings: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint remembers: all but where the run lies, for it may be moved."""
    return {key: value for key, value in settings.items() if key not in ("run_dir", "resume")}


def _new_folder(task: str, seed: int) -> Path:
    base = RUNS / task / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-seed{seed}"
    candidates = (base if i == 1 else base.with_name(f"{base.name}-{i}") for i in range(1, 1000))
    return next(path for path in candidates if not path.exists())


def _check_unfinished(source: Path | None, total_steps: int) -> None:
    if source is None:
        return
    with user_errors():
        done = checkpoints.load(source).env_steps
    if done >= total_steps:
        raise UserError(f"the run is complete: {done:,} steps of {total_steps:,}. To go on: total_steps={2 * done}")
