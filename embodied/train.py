"""The one training loop: collect, update, commit statistics, log, checkpoint.

A resumed run equals an uninterrupted one bit for bit on a CPU (same versions, same number of threads): a checkpoint
holds the optimiser, all statistics, the random generators, the environment, and what leads from rollout to rollout.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn

from . import checkpoint, distributed
from .checks import check_groups
from .configuration import choice, from_mapping, positive
from .guards import Guard, GuardConfig
from .metrics import EpisodeWindow, RunLog
from .normalize import ObsNormalizer
from .ppo import PPO, PPOConfig
from .preferences import DPO
from .rollout import Carry, Rollout, collect
from .runtime import (
    MATMUL_PRECISIONS,
    GracefulStop,
    fast_matmul,
    keep_memory,
    load_random_state,
    random_state,
    use_threads,
)
from .types import Policy, Scheduled, VecEnv

SEED_STRIDE = 1_000_003
"""Between the seeds of two rollouts of whole episodes; more than there are seeds and ranks."""
Record = dict[str, Any]
"""One log record: step, iteration, seconds, steps_per_second, collect_seconds (decide_seconds is part of it),
update_seconds, and every figure."""


@dataclass(frozen=True)
class LoopConfig:
    """What a run does besides learning, whatever it learns by.

    total_steps: environment steps (world-steps over all ranks) after which it ends.
    checkpoint_interval: environment steps between checkpoints.  keep_checkpoints: how many to keep; 0: all.
    log_interval: iterations between log records.
    episode_window: episodes that the logged means reach back over, at least.
    num_threads: of torch; 0: all that this process may use, see ``embodied.runtime.use_threads``.
    matmul_precision: of matrix products, as torch names it: ``highest``, ``high`` (TF32) or ``medium`` (bfloat16),
        see ``embodied.runtime.fast_matmul``.
    seed: of networks, exploration and environment; rank r adds r.
    wandb: log to W&B as well.
    guards: when a run is stopped that learns nothing, or forgets.
    """

    total_steps: int = 6_000_000
    checkpoint_interval: int = 1_000_000
    keep_checkpoints: int = 3
    log_interval: int = 1
    episode_window: int = 100
    num_threads: int = 0
    matmul_precision: str = "highest"
    seed: int = 0
    wandb: bool = False
    guards: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        for name in ("total_steps", "checkpoint_interval", "log_interval", "episode_window"):
            positive(name, getattr(self, name))
        choice("matmul_precision", self.matmul_precision, MATMUL_PRECISIONS)


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """normalize_observations: standardise the observation groups whose spec says so."""

    normalize_observations: bool = True
    algo: PPOConfig = field(default_factory=PPOConfig)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> TrainConfig:
        """From configuration; ``algo`` and ``guards`` may be mappings themselves."""
        data = dict(data)
        if isinstance(data.get("algo"), Mapping):
            data["algo"] = PPOConfig.from_mapping(data["algo"])
        if isinstance(data.get("guards"), Mapping):
            data["guards"] = from_mapping(GuardConfig, data["guards"], "guards")
        return from_mapping(cls, data, "train")


class TrainingStopped(RuntimeError):
    """A run that could not go on; the message says why, and where its last checkpoint is."""


class TrainingDiverged(TrainingStopped):
    """The update met a number that is not finite."""


class Iterating(Protocol):
    """What :func:`drive` drives; :class:`Trainer` is one."""

    env_steps: int
    iteration: int
    normalizer: ObsNormalizer | None

    @property
    def env(self) -> VecEnv:
        """Where it learns."""

    @property
    def config(self) -> LoopConfig:
        """For how long."""

    def iterate(self) -> Record:
        """Learn on, and say how: ``reward/std`` is needed by the guards; FloatingPointError if it is not finite."""

    def save(self, run_dir: Path, run_config: Mapping[str, Any]) -> Path:
        """Write a checkpoint."""


@dataclass
class TrainResult:
    """How a run ended. finished: False if it was asked to stop early.  record: the last log record."""

    run_dir: Path
    checkpoint: Path
    env_steps: int
    iteration: int
    finished: bool
    record: Record
    normalizer: ObsNormalizer | None


class Trainer:
    """The state of a run and its one iteration. ``train`` drives it; tests and notebooks may, too."""

    def __init__(self, env: VecEnv, policy: Policy, config: TrainConfig) -> None:
        self.env, self.policy, self.config = env, policy, config
        algo = config.algo
        torch.manual_seed(config.seed + distributed.rank())
        symmetric = algo.symmetry != "none"
        self.module = cast(nn.Module, policy).to(env.device)
        self.normalizer: ObsNormalizer | None = None
        if config.normalize_observations:
            self.normalizer = ObsNormalizer.of(env.spec, symmetric).to(env.device)
        chunk = env.spec.action.chunk
        check_groups(env, algo)
        self.learner: PPO | DPO = (
            DPO(policy, algo) if algo.loss == "dpo" else PPO(policy, algo, env.spec.symmetry, chunk)
        )
        if chunk > 1:  # rewards inside a decision are summed up there, and discounted as here
            env.discount = 1.0 if algo.grouped else algo.gamma  # type: ignore[attr-defined]
        self.rollout = Rollout(algo.num_steps, env.num_rows, env.device)
        self.episodes = EpisodeWindow(config.episode_window)
        self.env_steps = self.iteration = 0
        self.seconds = 0.0
        self.worlds = env.num_rows // max(1, env.spec.num_agents)
        self.steps_per_iteration = int(distributed.total(self.worlds * algo.num_steps * chunk))
        self.carry: Carry | None = None

    def start(self) -> None:
        """Reset the environment with this run's seed, or with this iteration's: groups then begin alike again."""
        obs = self.env.reset(seed=self.config.seed + distributed.rank() + SEED_STRIDE * self.iteration)
        self.carry = Carry.start(self.env, self.policy, obs)

    def iterate(self) -> Record:
        """Collect a rollout and learn from it."""
        begin = time.perf_counter()
        grouped = self.config.algo.grouped
        if self.carry is None or grouped:
            self.start()
        progress = self.env_steps / self.config.total_steps
        if isinstance(self.policy, Scheduled):
            self.policy.set_progress(progress)
        carry = cast(Carry, self.carry)
        self.carry = collect(
            self.env, self.policy, self.rollout, carry, self.normalizer, self.episodes, values=not grouped
        )
        collected = time.perf_counter()
        figures = self.learner.update(self.rollout, progress)
        if self.normalizer is not None:
            self.normalizer.commit()
        end = time.perf_counter()
        self.env_steps += self.steps_per_iteration
        self.iteration += 1
        self.seconds += end - begin
        figures |= getattr(self.policy, "diagnostics", dict)()
        return self._record(collected - begin, end - collected) | self.episodes.commit() | figures

    def _record(self, collect_seconds: float, update_seconds: float) -> Record:
        rate = self.steps_per_iteration / (collect_seconds + update_seconds)
        return {
            "step": self.env_steps,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "steps_per_second": rate,
            "collect_seconds": collect_seconds,
            "decide_seconds": self.rollout.decide_seconds,
            "update_seconds": update_seconds,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the model's tensors."""
        return {
            "ppo": self.learner.state_dict(),
            "carry": None if self.carry is None else self.carry.state_dict(),
            "episodes": self.episodes.state_dict(),
            "env": self.env.state_dict(),
            "random": random_state(self.env.device),
            "counters": {"env_steps": self.env_steps, "iteration": self.iteration, "seconds": self.seconds},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the model's tensors have been loaded before."""
        self.learner.load_state_dict(state["ppo"])
        if state["carry"] is not None:
            starts = torch.ones(self.env.num_rows, dtype=torch.bool, device=self.env.device)
            self.carry = Carry({}, {}, starts)
            self.carry.load_state_dict(state["carry"])
        self.episodes.load_state_dict(state["episodes"])
        self.env.load_state_dict(state["env"])
        counters = state["counters"]
        self.env_steps, self.iteration = counters["env_steps"], counters["iteration"]
        self.seconds = counters["seconds"]
        load_random_state(state["random"], self.env.device)  # last: nothing may draw from here on

    def save(self, run_dir: Path, run_config: Mapping[str, Any]) -> Path:
        """Write a checkpoint."""
        return checkpoint.save(
            run_dir,
            env_steps=self.env_steps,
            iteration=self.iteration,
            policy=self.module,
            normalizer=self.normalizer,
            training=self.state_dict(),
            spec=self.env.spec,
            config=run_config,
            keep=self.config.keep_checkpoints,
        )

    def start_from(self, source: str | Path) -> None:
        """Take the weights and the normaliser of a pretrained checkpoint; everything else starts afresh."""
        self.start()
        first = cast(Carry, self.carry).obs
        checkpoint.load_pretrained(checkpoint.load(source), self.module, self.env.spec, self.normalizer, first)

    def resume(self, source: str | Path) -> None:
        """Continue from a checkpoint; CheckpointError if it is broken or of another version."""
        found = checkpoint.load(source)
        checkpoint.load_model(found, self.module, self.normalizer)
        try:
            self.load_state_dict(found.training())
        except ValueError as error:
            raise checkpoint.CheckpointError(f"{found.path}: {error}") from error


def train(
    env: VecEnv,
    policy: Policy,
    config: TrainConfig,
    run_dir: str | Path,
    resume: str | Path | None = None,
    on_progress: Iterable[Callable[[Record], None]] = (),
    run_config: Mapping[str, Any] | None = None,
    wandb: Mapping[str, Any] | None = None,
    init: str | Path | None = None,
) -> TrainResult:
    """Train a policy in an environment until ``config.total_steps``; see :func:`drive`.

    Args:
        run_config: the whole configuration of the run, to be stored in the checkpoints; default: ``config`` alone.
        init: a pretrained run folder or checkpoint to start from; a resumed run has started already.
    """
    use_threads(config.num_threads)
    stored = dataclasses.asdict(config) if run_config is None else run_config
    keep_memory()
    trainer = Trainer(env, policy, config)
    if resume is not None:
        trainer.resume(resume)
    elif init is not None:
        trainer.start_from(init)
    return drive(trainer, Path(run_dir), stored, resume, on_progress, wandb)


def drive(
    trainer: Iterating,
    run_dir: Path,
    run_config: Mapping[str, Any],
    resume: str | Path | None = None,
    on_progress: Iterable[Callable[[Record], None]] = (),
    wandb: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Iterate until ``total_steps``, with log and checkpoints.

    SIGINT and SIGTERM end it after the iteration at hand, with a checkpoint; a second one ends it at once.

    Args:
        run_dir: where the log and the checkpoints go.
        run_config: stored in the checkpoints.
        resume: the run folder or checkpoint that the trainer continues from; None: it starts afresh.
        on_progress: called with every log record, on rank 0.
        wandb: keyword arguments of ``wandb.init``, used if ``wandb`` is set in the trainer's configuration.

    Raises:
        TrainingDiverged: a number was not finite. The checkpoints written before stay as they are.
        TrainingStopped: a guard stopped it, after a checkpoint.
    """
    log = None
    if distributed.is_main():
        _claim(run_dir, resume, trainer.env_steps)
        wanted = wandb or {} if trainer.config.wandb else None
        log = RunLog(run_dir, trainer.env_steps if resume is not None else None, wanted)
    try:
        with GracefulStop() as stop, fast_matmul(trainer.env.device, trainer.config.matmul_precision):
            return _run(trainer, run_dir, run_config, log, list(on_progress), stop)
    finally:
        if log is not None:
            log.close()


def _claim(run_dir: Path, resume: str | Path | None, env_steps: int) -> None:
    """Make sure that what lies in the run folder belongs to this run; what is beyond its start is written anew."""
    newest = checkpoint.latest(run_dir)
    if newest is None:
        return
    if resume is None or checkpoint.find(resume).parent.resolve() != newest.parent.resolve():
        raise FileExistsError(
            f"{run_dir} already holds {newest.name} of another run: resume={run_dir} continues it; "
            "otherwise choose another run_dir"
        )
    checkpoint.discard_after(run_dir, env_steps)


def _run(
    trainer: Iterating,
    run_dir: Path,
    run_config: Mapping[str, Any],
    log: RunLog | None,
    listeners: list[Callable[[Record], None]],
    stop: GracefulStop,
) -> TrainResult:
    config, record, saved = trainer.config, Record(), None
    due = _next_multiple(trainer.env_steps, config.checkpoint_interval)
    stopped, guard, reason = False, Guard(config.guards, trainer.env.spec.success_metric), None
    while trainer.env_steps < config.total_steps and not stopped:
        record = _iterate(trainer, run_dir)
        reason = guard.look(record)
        stopped = distributed.any_rank(stop.asked or reason is not None)
        last = trainer.env_steps >= config.total_steps or stopped
        if log is not None and (last or trainer.iteration % config.log_interval == 0):
            log.write(record)
            for listener in listeners:
                listener(record)
        if last or trainer.env_steps >= due:
            due = _next_multiple(trainer.env_steps, config.checkpoint_interval)
            if log is not None:
                log.sync()  # a checkpoint's log is never behind it
            saved = trainer.save(run_dir, run_config)
    if reason is not None:
        raise TrainingStopped(f"training stopped at step {trainer.env_steps}: {reason}. The checkpoint is {saved}")
    finished = trainer.env_steps >= config.total_steps
    path = saved or checkpoint.latest(run_dir) or trainer.save(run_dir, run_config)
    return TrainResult(run_dir, path, trainer.env_steps, trainer.iteration, finished, record, trainer.normalizer)


def _iterate(trainer: Iterating, run_dir: Path) -> Record:
    try:
        return trainer.iterate()
    except FloatingPointError as error:
        good = checkpoint.latest(run_dir)
        advice = f"the last good checkpoint is {good}" if good else "no checkpoint had been written"
        raise TrainingDiverged(
            f"training diverged at step {trainer.env_steps} (iteration {trainer.iteration}): {error}; {advice}. "
            "A smaller algo.learning_rate (of PPO: algo.desired_kl) may help; so may a look at the task's rewards"
        ) from error


def _next_multiple(steps: int, interval: int) -> int:
    return (steps // interval + 1) * interval
