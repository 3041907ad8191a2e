"""Record demonstrations of a task as a LeRobot dataset; the last line printed is one JSON object.

embodied demos task=pick_cube expert=scripted out=data/pick_cube
embodied demos task=hopper expert=runs/hopper/RUN episodes=96 noise=0.1 out=data/hopper
embodied demos task=put_on_plate expert=scripted task.cut_after_success=6 episodes=128 out=data/put_on_plate
embodied demos task=pick_cube expert=scripted only_success=true noise=0.3 episodes=200 out=data/pick_cube_noisy
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING

from embodied.configuration import choice, positive
from embodied.datasets import FORMATS, DatasetInfo, Episode, create_dataset
from embodied.datasets.recording import INSTRUCTION, Expert, PolicyExpert, Tally, record
from embodied.provenance import provenance
from embodied.types import VecEnv

from .agents import load_agent
from .common import make_env, pick_device, user_errors
from .config import UserError, compose, plain, typed
from .evaluate import check_fit

SCRIPTED = "scripted"
EXPERTS = {
    "manipulation": "envs.tasks.manipulation.experts",
    "tabletop": "envs.tasks.tabletop.experts",
    "maniskill": "envs.maniskill.experts",
}
"""Kind of task -> the module with its scripted experts."""


@dataclass(frozen=True)
class DemosConfig:
    """The settings of a recording.

    task: what to demonstrate: a choice of configs/task, each of its keys open to change.
    expert: who demonstrates: scripted (tasks of an arm have one), or a checkpoint: a run folder or a shipped name.
    out: the folder of the new dataset.
    episodes: how many are kept.
    only_success: keep those that succeeded alone.
    max_attempts: give up after so many episodes; 0: ten for each one that is asked for.
    noise: how much the expert errs: of a script its own measure, of a policy the standard deviation of its action.
    instruction: the task in words, for policies that read; default: the task's description. A task
        that tells the robot in words itself, episode by episode, takes none.
    format: lerobot, or another that `embodied convert` knows.
    seed: of environment and expert; the same seed gives the same episodes.
    num_worlds: simulations side by side; the same number gives the same episodes.
    device: where it runs: auto, cpu, cuda or cuda:<number>.
    engine: the physics: auto, batch (CPU threads) or warp (CUDA).
    num_threads: CPU threads of the simulation; 0: as many as there are.
    """

    task: Any = MISSING
    expert: str = MISSING
    out: str = MISSING
    episodes: int = 100
    only_success: bool = False
    max_attempts: int = 0
    noise: float = 0.0
    instruction: str | None = None
    format: str = "lerobot"
    seed: int = 0
    num_worlds: int = 50
    device: str = "auto"
    engine: str = "auto"
    num_threads: int = 0

    def __post_init__(self) -> None:
        for name in ("episodes", "num_worlds"):
            positive(name, getattr(self, name))
        choice("format", self.format, FORMATS)
        if self.noise < 0:
            raise ValueError(f"noise={self.noise}: must not be negative")


SCHEMA = DemosConfig


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    composed = compose(DemosConfig, "demos", argv)
    config, task = typed(DemosConfig, composed), plain(composed)["task"]
    _check_free(Path(config.out))
    device = pick_device(config.device)
    env = make_env(
        task,
        num_worlds=min(config.num_worlds, config.episodes),
        device=device,
        engine=config.engine,
        num_threads=config.num_threads,
        seed=config.seed,
    )
    try:
        made_by = provenance(config.seed, ["embodied", "demos", *argv])
        result = write(env, make_expert(env, config, task, device), config, task, made_by)
    finally:
        env.close()
    print(json.dumps(result))
    return 0


def make_expert(env: VecEnv, config: DemosConfig, task: Mapping[str, Any], device: torch.device) -> Expert:
    """The expert that the settings name.

    Raises:
        UserError: the task has no scripted one, or the checkpoint does not fit it.
    """
    if config.expert != SCRIPTED:
        agent = load_agent(config.expert, device)
        check_fit(agent.spec, env.spec)
        return PolicyExpert(agent.policy, env.num_rows, agent.see, config.noise, config.seed)
    if task.get("kind") not in EXPERTS:
        raise UserError(
            f"expert=scripted: {env.spec.name} has none, those of an arm do and ManiSkill's PickCube-v1; "
            "give a checkpoint: expert=RUN"
        )
    with user_errors():
        make = importlib.import_module(EXPERTS[task["kind"]]).make_expert
        return _Scripted(make(env, noise=config.noise, seed=config.seed))


class _Scripted:
    """A scripted expert, which reads the simulation itself and no observation."""

    def __init__(self, script: Any) -> None:
        self.script = script

    def act(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.script.act()

    def reset(self, rows: torch.Tensor) -> None:
        self.script.reset(rows)


def write(
    env: VecEnv, expert: Expert, config: DemosConfig, task: Mapping[str, Any], made_by: Mapping[str, Any]
) -> dict[str, Any]:
    """Record and write; the figures as plain JSON types."""
    tally, lengths, returns = Tally(), [], []
    info = DatasetInfo.of(env.spec, task_config=dict(task), expert=config.expert, noise=config.noise, made_by=made_by)
    if config.instruction is not None and INSTRUCTION in env.spec.obs:
        raise UserError(f"instruction={config.instruction!r}: {env.spec.name} has its own, one an episode")
    words = config.instruction or str(task.get("description") or env.spec.name)
    with progress(config.episodes) as report, user_errors(), create_dataset(config.out, info, config.format) as writer:
        for episode in _recorded(env, expert, config, words, tally, report):
            writer.add(episode)
            lengths.append(len(episode))
            returns.append(float(episode.reward.sum()))
    return {
        "dataset": config.out,
        "task": env.spec.name,
        "expert": config.expert,
        "episodes": tally.kept,
        "frames": sum(lengths),
        "attempts": tally.attempts,
        "success": tally.successes / tally.attempts if env.spec.success_metric else None,
        "return": sum(returns) / len(returns),
        "length": sum(lengths) / len(lengths),
        "megabytes": round(sum(f.stat().st_size for f in _files(Path(config.out))) / 2**20, 2),
    }


def _recorded(
    env: VecEnv, expert: Expert, config: DemosConfig, words: str, tally: Tally, report: Any
) -> Iterator[Episode]:
    return record(
        env,
        expert,
        config.episodes,
        seed=config.seed,
        only_success=config.only_success,
        max_attempts=config.max_attempts,
        instruction=words,
        tally=tally,
        on_progress=report,
    )


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def _check_free(out: Path) -> None:
    if out.exists():
        raise UserError(f"out={out} is there already; choose another name")


@contextmanager
def progress(episodes: int) -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere; yields ``report(tally)``."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("episodes", total=episodes)
        yield lambda tally: bar.update(task, completed=tally.kept)
