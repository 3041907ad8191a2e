"""Measure a trained policy; the last line printed is one JSON object.

embodied evaluate checkpoint=go2_velocity
embodied evaluate checkpoint=RUN episodes=256 seed=0
embodied evaluate checkpoint=RUN task=go2_velocity_hard
embodied evaluate checkpoint=RUN 'task.push.speed=[1.0,1.5]' out=pushed.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from embodied.evaluate import evaluate
from embodied.provenance import provenance
from embodied.transfer import check_decisions
from embodied.types import CRITIC_GROUP, TaskSpec

from .agents import load_agent, read_config
from .common import Agent, make_env, pick_device, resolve_checkpoint, run_folder
from .config import UserError, compose, parse, plain, typed
from .remote import is_remote
from .starting import keep_decisions


@dataclass(frozen=True)
class EvaluateConfig:
    """The settings of an evaluation.

    checkpoint: a run folder, a checkpoint folder, the name of a shipped one (embodied list), or the address of a policy
        server (ws://host:port, see docs/policy_server.md).
    episodes: how many; each world contributes its first ones.
    seed: of environment and policy; the same seed gives the same episodes.
    deterministic: take the most likely action; false draws actions as in training.
    num_worlds: simulations side by side; the same number gives the same episodes.
    task: another task to measure on, or a change of its own (task.push.speed=[0,1]). Chunks, history and image size
        stay those that the policy was trained with.
    device: where it runs: auto, cpu, cuda or cuda:<number>.
    engine: the physics: auto, batch (CPU threads) or warp (CUDA).
    num_threads: CPU threads of the simulation; 0: as many as there are.
    out: where the result goes; default: evaluation.json in the run folder.
    """

    checkpoint: str = MISSING
    episodes: int = 256
    seed: int = 0
    deterministic: bool = True
    num_worlds: int = 256
    task: Any = MISSING
    device: str = "auto"
    engine: str = "auto"
    num_threads: int = 0
    out: str | None = None

    def __post_init__(self) -> None:
        for name in ("episodes", "num_worlds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")


SCHEMA = EvaluateConfig


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    config, task = configure(argv)
    device = pick_device(config.device)
    agent = load_agent(config.checkpoint, device)
    result = measure(agent, task, config, device)
    result["changes"] = [argument for argument in argv if argument.lstrip("+~").startswith("task")]
    path = result_path(config, agent, task, bool(result["changes"]))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = {**result, "provenance": provenance(config.seed, ["embodied", "evaluate", *argv])}
        path.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    show(result, path)
    print(json.dumps(result))
    return 0


def configure(argv: Sequence[str]) -> tuple[EvaluateConfig, dict[str, Any]]:
    """The settings, and the task to measure on: the checkpoint's own with what was changed."""
    name = next((str(o.value()) for o in parse(argv) if o.key_or_group == "checkpoint"), None)
    if name is None:
        raise UserError("checkpoint is required: embodied evaluate checkpoint=RUN; `embodied list` shows what there is")
    own = read_config(name)["task"]
    config = compose(EvaluateConfig, "evaluate", argv, {"task/checkpoint": own})
    keep_decisions(config, own, argv)
    return typed(EvaluateConfig, config), plain(config)["task"]


def measure(agent: Agent, task: Mapping[str, Any], config: EvaluateConfig, device: Any) -> dict[str, Any]:
    """Run the episodes; see :func:`embodied.evaluate.evaluate` for the figures."""
    if "evaluation" in task:  # a task with a curriculum has another form to be measured in
        task = {**task, "evaluation": True}
    env = make_env(
        task,
        num_worlds=min(config.num_worlds, config.episodes),
        device=device,
        engine=config.engine,
        num_threads=config.num_threads,
        seed=config.seed,
    )
    try:
        check_fit(agent.spec, env.spec)
        with progress() as report:
            figures = evaluate(
                env,
                agent.policy,
                config.episodes,
                config.seed,
                agent.see,
                config.deterministic,
                on_progress=report,
            )
    finally:
        env.close()
    return {"checkpoint": config.checkpoint, "task": env.spec.name, "trained_on": agent.spec.name, **figures}


def check_fit(trained: TaskSpec, other: TaskSpec, critic: bool = False) -> None:
    """Raise UserError unless a policy trained on one task can see and act in the other.

    critic: so must its critic; only learning asks that (see :meth:`Agent.see`).
    """
    shapes = {name: group.shape for name, group in other.obs.items()}
    faults = [
        f"observation group {name!r} has shape {shapes.get(name, 'none')}, not {group.shape}"
        for name, group in trained.obs.items()
        if shapes.get(name) != group.shape and (critic or name != CRITIC_GROUP)
    ]
    faults += check_decisions(trained, other)
    if faults:
        raise UserError(f"a policy trained on {trained.name} does not fit {other.name}: {'; '.join(faults)}")


def result_path(config: EvaluateConfig, agent: Agent, task: Mapping[str, Any], changed: bool) -> Path | None:
    """Where the result goes; None for a shipped checkpoint or a server, which have no folder of ours."""
    if config.out is not None:
        return Path(config.out)
    run = None if is_remote(config.checkpoint) else run_folder(resolve_checkpoint(config.checkpoint))
    if run is None:
        return None
    suffix = f"_{task['name']}" if task["name"] != agent.spec.name else "_changed" if changed else ""
    return run / f"evaluation{suffix}.json"


@contextmanager
def progress() -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere; yields ``report(done, total)``."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("episodes")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(result: Mapping[str, Any], path: Path | None) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{result['task']}: {result['episodes']} episodes, seed {result['seed']}", title_justify="left")
    for name in ("", "mean", f"{result['level']:.0%} interval", "std"):
        table.add_column(name, justify="left" if name == "" else "right")
    for name, figure in result["metrics"].items():
        if figure["mean"] is None:
            continue
        interval = f"{figure['low']:.4g} to {figure['high']:.4g}" if figure["low"] is not None else ""
        table.add_row(name, f"{figure['mean']:.4g}", interval, f"{figure['std']:.4g}")
    console.print(table)
    if result["crashed"]:
        console.print(f"{result['crashed']} episodes crashed and count as failures")
    if path is not None:
        console.print(f"written to {path}", soft_wrap=True)
