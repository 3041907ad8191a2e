"""Behaviour cloning: a policy learns from demonstrations, by its own ``imitation_loss`` and nothing else.

The defaults are those of the pretraining in DPPO (Ren et al., "Diffusion Policy Policy Optimization", ICLR 2025):
AdamW from 1e-3 down to 1e-4 along a cosine, batches of 128, an exponential moving average of .995 of the weights.

A resumed run equals an uninterrupted one bit for bit on a CPU (same versions, same number of threads).

Legend: B windows of a batch; H action chunk; A action size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from . import checkpoint
from .configuration import choice, positive, within
from .datasets import Episodes, Windows, split
from .datasets.fitting import histories, make_normalizer
from .datasets.scaling import METHODS
from .datasets.windows import PADDINGS, Window, epochs
from .metrics import RunLog
from .runtime import GracefulStop, fast_matmul, keep_memory, load_random_state, random_state, use_threads
from .schedules import cosine_rate
from .types import Obs, TaskSpec

Record = dict[str, Any]

VALIDATION_WINDOWS = 2048
"""At most so many windows of the validation episodes are looked at."""


class ClonablePolicy(Protocol):
    """A policy that can learn from demonstrations."""

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """(B,): what is to be made small for actions (B, H, A) in policy units, at normalised observations."""


@dataclass(frozen=True)
class ImitationConfig:
    """How a policy is cloned.

    steps: gradient steps.  batch_size: windows in each.
    learning_rate, final_learning_rate: at the start and at the end of a cosine.  weight_decay: of AdamW.
    max_grad_norm: gradients are scaled down to this norm.
    ema_decay: of the moving average of the weights, which is what is kept.
    normalization: of observations: quantiles (1 % and 99 % to -1 and 1), minmax, mean_std or none.
    padding: windows that reach beyond the end of their episode: repeat the last action, or drop them.
    validation_share: of the episodes, held out to measure on; 0: none.
    validation_interval, log_interval: gradient steps between measurements and between log records.
    checkpoint_interval: gradient steps between checkpoints, at least; one is written with a log record.
    keep_checkpoints: how many to keep; 0: all.
    num_threads: of torch; 0: all that this process may use.
    seed: of split, order and draws.
    """

    steps: int = 12_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    weight_decay: float = 1e-6
    max_grad_norm: float = 1.0
    ema_decay: float = 0.995
    normalization: str = "quantiles"
    padding: str = "repeat"
    validation_share: float = 0.1
    validation_interval: int = 500
    log_interval: int = 100
    checkpoint_interval: int = 2000
    keep_checkpoints: int = 1
    num_threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "max_grad_norm"):
            positive(name, getattr(self, name))
        for name in ("validation_interval", "log_interval", "checkpoint_interval"):
            positive(name, getattr(self, name))
        within("final_learning_rate", self.final_learning_rate, 0.0, self.learning_rate)
        within("ema_decay", self.ema_decay, 0.0, 1.0)
        within("validation_share", self.validation_share, 0.0, 0.9)
        choice("normalization", self.normalization, METHODS)
        choice("padding", self.padding, PADDINGS)


# Learning -----------------------------------------------------------------------------------------------------------


class Cloner:
    """The state of behaviour cloning and its one gradient step. ``clone`` drives it; notebooks may, too.

    average: the moving average of the policy; ``average.module`` is what is kept.
    """

    def __init__(
        self, policy: nn.Module, spec: TaskSpec, data: Episodes, config: ImitationConfig, device: torch.device
    ) -> None:
        if not hasattr(policy, "imitation_loss"):
            raise ValueError(f"{type(policy).__name__} has no imitation_loss: it cannot learn from demonstrations")
        self.policy, self.spec, self.config, self.device = policy.to(device), spec, config, device
        self._shapes = {name: spec.obs[name].shape for name in spec.obs if name in data.obs}
        train, held_out = split(len(data), config.validation_share, config.seed)
        cut: dict[str, Any] = {"chunk": spec.action.chunk, "history": histories(spec, data), "padding": config.padding}
        self.windows = Windows(data, episodes=train, **cut)
        self.validation = Windows(data, episodes=held_out, **cut) if len(held_out) else None
        self.normalizer = make_normalizer(spec, data, config.normalization).to(device)
        self.average = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.optimizer = torch.optim.AdamW(policy.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        generator = torch.Generator().manual_seed(config.seed)
        self._batches = epochs(len(self.windows), config.batch_size, generator)
        self.step, self.seconds = 0, 0.0

    def iterate(self) -> Record:
        """One gradient step; its loss, the norm of its gradient, and the rate it was made at."""
        config = self.config
        rate = cosine_rate(config.learning_rate, config.final_learning_rate, self.step / config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        obs, action, _ = self.seen(self.windows.batch(next(self._batches)))
        loss = cast(ClonablePolicy, self.policy).imitation_loss(obs, action).mean()
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), config.max_grad_norm)
        if not bool(norm.isfinite()):
            raise FloatingPointError(f"the gradient is not finite at step {self.step}; try a smaller learning_rate")
        self.optimizer.step()
        self.average.update_parameters(self.policy)
        self.step += 1
        return {"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": rate}

    @torch.no_grad()
    def validate(self) -> Record:
        """Of the averaged weights on held-out episodes: the loss, and the mean absolute error of the most likely action
        [policy units], over all decisions and over the first one of each episode. The same windows and the same draws
        every time, and training does not notice.

        A policy that sees nothing but itself may follow a demonstration well once it is under way; its first decision
        tells whether it knows where to go.
        """
        if self.validation is None:
            return {}
        rows, firsts = (_thinned(part) for part in (torch.arange(len(self.validation)), self.validation.firsts()))
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.config.seed)
            record = self._held_out(rows, {"validation_loss": self._losses, "action_error": self._errors})
            return record | (self._held_out(firsts, {"first_action_error": self._errors}) if len(firsts) else {})

    def _held_out(self, rows: Tensor, measures: Mapping[str, Callable[[Window], Tensor]]) -> Record:
        """The means of measures over rows of the held-out data."""
        assert self.validation is not None
        found: dict[str, list[Tensor]] = {name: [] for name in measures}
        for part in rows.split(256):
            window = self.seen(self.validation.batch(part))
            for name, measure in measures.items():
                found[name].append(measure(window))
        return {name: torch.cat(parts).mean().item() for name, parts in found.items()}

    def _losses(self, window: Window) -> Tensor:
        policy: Any = self.average.module
        return policy.imitation_loss(window.obs, window.action)

    def _errors(self, window: Window) -> Tensor:
        """Absolute errors of the action elements that were demonstrated."""
        policy: Any = self.average.module
        return (policy.act(window.obs, deterministic=True).action - window.action).abs()[window.mask]

    def seen(self, window: Window) -> Window:
        """A batch as the policy sees it: on its device, shaped as the task shows it, normalised."""
        obs = {name: window.obs[name].to(self.device) for name in self._shapes}
        obs = {name: x.reshape(len(x), *self._shapes[name]) for name, x in obs.items()}
        return Window(self.normalizer(obs), window.action.to(self.device), window.mask.to(self.device))

    def save(self, run_dir: Path, run_config: Mapping[str, Any]) -> Path:
        """Write a checkpoint: the averaged policy and all that goes on from here."""
        return checkpoint.save(
            run_dir,
            env_steps=self.step,
            iteration=self.step,
            policy=self.average.module,
            normalizer=self.normalizer,
            training=self.state_dict(),
            spec=self.spec,
            config=run_config,
            keep=self.config.keep_checkpoints,
        )

    def resume(self, source: str | Path) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: the data are not those that the run began with.
            CheckpointError: the checkpoint is damaged, or of another policy.
        """
        found = checkpoint.load(source)
        checkpoint.load_model(found, self.average.module, self.normalizer)
        self.load_state_dict(found.training())

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the averaged policy and the normaliser."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "windows": len(self.windows),
            "policy": self.policy.state_dict(),
            "averaged": self.average.n_averaged,
            "optimizer": self.optimizer.state_dict(),
            "random": random_state(self.device),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the averaged policy and the normaliser have been loaded before."""
        if state["windows"] != len(self.windows):
            raise ValueError(
                f"the data have changed: there are {len(self.windows)} windows to learn from; when the run began, "
                f"{state['windows']}"
            )
        self.step, self.seconds = state["step"], state["seconds"]
        self.policy.load_state_dict(state["policy"])
        self.average.n_averaged.copy_(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        for _ in range(self.step):  # the order follows from the seed
            next(self._batches)
        load_random_state(state["random"], self.device)  # last: nothing may draw from here on


@dataclass
class CloneResult:
    """How cloning ended. finished: False if it was asked to stop early.  record: the last log record."""

    run_dir: Path
    checkpoint: Path
    steps: int
    finished: bool
    record: Record


def clone(
    policy: nn.Module,
    spec: TaskSpec,
    data: Episodes,
    config: ImitationConfig,
    run_dir: str | Path,
    *,
    resume: str | Path | None = None,
    device: torch.device | str = "cpu",
    on_progress: Iterable[Callable[[Record], None]] = (),
    run_config: Mapping[str, Any] | None = None,
) -> CloneResult:
    """Clone demonstrations into a policy and write a checkpoint that every other command reads.

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint; a second one ends it at once.

    Args:
        spec: of the task that the policy was made for; it may act in chunks and see histories, which are cut from data.
        resume: a checkpoint of this run, made by the same configuration, to go on from; None: start afresh.
        run_config: stored in the checkpoints: ``task`` and ``policy`` are what they are rebuilt from.

    Raises:
        DatasetError: the data do not fit the task.  FloatingPointError: a gradient was not finite; the checkpoints
        written before stay as they are.
    """
    run_dir, device = Path(run_dir), torch.device(device)
    use_threads(config.num_threads)
    keep_memory()
    torch.manual_seed(config.seed)
    cloner = Cloner(policy, spec, data, config, device)
    if resume is not None:
        cloner.resume(resume)
    log = RunLog(run_dir, None if resume is None else cloner.step)
    try:
        with GracefulStop() as stop, fast_matmul(device):
            path, record = _run(cloner, run_dir, run_config or {}, log, list(on_progress), stop)
    finally:
        log.close()
    return CloneResult(run_dir, path, cloner.step, cloner.step >= config.steps, record)


def _run(
    cloner: Cloner,
    run_dir: Path,
    run_config: Mapping[str, Any],
    log: RunLog,
    listeners: list[Callable[[Record], None]],
    stop: GracefulStop,
) -> tuple[Path, Record]:
    """Step until done or asked to stop; the last checkpoint and the last log record."""
    config, path, record = cloner.config, checkpoint.latest(run_dir), Record()
    last, due = cloner.step >= config.steps, _next_multiple(cloner.step, config.checkpoint_interval)
    while not last:
        record, last = _iterate(cloner, stop)
        log.write(record)
        for listener in listeners:
            listener(record)
        if last or cloner.step >= due:
            due = _next_multiple(cloner.step, config.checkpoint_interval)
            log.sync()  # a checkpoint's log is never behind it
            path = cloner.save(run_dir, run_config)
    return path or cloner.save(run_dir, run_config), record


def _iterate(cloner: Cloner, stop: GracefulStop) -> tuple[Record, bool]:
    """Step to the next multiple of ``log_interval``; the means on the way, and whether they are the last."""
    config, begin, figures = cloner.config, time.perf_counter(), [cloner.iterate()]
    while not (last := cloner.step >= config.steps or stop.asked) and cloner.step % config.log_interval:
        figures.append(cloner.iterate())
    spent = time.perf_counter() - begin
    record = {name: sum(f[name] for f in figures) / len(figures) for name in figures[0]}
    if last or cloner.step == config.log_interval or cloner.step % config.validation_interval == 0:
        record |= cloner.validate()
    cloner.seconds += time.perf_counter() - begin
    timing = {"step": cloner.step, "seconds": cloner.seconds, "steps_per_second": len(figures) / spent}
    return timing | record, last


def _thinned(rows: Tensor) -> Tensor:
    """At most VALIDATION_WINDOWS of them, evenly."""
    return rows[torch.linspace(0, len(rows) - 1, min(VALIDATION_WINDOWS, len(rows))).long()]


def _next_multiple(step: int, interval: int) -> int:
    return (step // interval + 1) * interval
