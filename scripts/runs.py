"""Run folders of the commands that learn from an environment: opened, resumed, shown while they grow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from embodied import checkpoint as checkpoints
from embodied import distributed, provenance
from embodied.display import make_display
from embodied.train import Record, TrainResult
from embodied.types import TaskSpec

from .common import RUNS, user_errors
from .config import UserError, nearest, parse, plain, schema_node
from .overrides import check

CONFIG = "config.yaml"
RESUMABLE = ("total_steps", "checkpoint_interval", "keep_checkpoints", "log_interval", "num_threads", "wandb")
"""What may be changed when a run is resumed: none of it changes what is learnt from here on, but for how long."""


def say(message: str) -> None:
    """Tell the user, once however many processes there are."""
    if distributed.is_main():
        print(message, flush=True)


def given(argv: Sequence[str], key: str) -> str | None:
    """What the command line says of a key, before anything is composed; None where it says nothing or null."""
    value = next((str(o.value()) for o in parse(argv) if o.key_or_group == key), "None")
    return None if value == "None" else value


# Continuing -------------------------------------------------------------------------------------------------------


def resumed(schema: type, command: str, run: str, argv: Sequence[str]) -> DictConfig:
    """The configuration of a run to be continued: its own, with what may be changed changed.

    Args:
        schema: the dataclass of the settings of ``embodied <command>``.

    Raises:
        UserError: no run folder, one of another command, or a setting that must stay.
    """
    run_dir = _run_to_resume(Path(run).expanduser())
    node = OmegaConf.load(run_dir / CONFIG)
    assert isinstance(node, DictConfig)
    base = schema_node(schema)
    if not {str(key) for key in node} <= {str(key) for key in base}:
        raise UserError(f"resume={run_dir}: not a run of `embodied {command}`; {CONFIG} has settings that it has not")
    own = {**plain(node), "run_dir": str(run_dir), "resume": str(run_dir)}
    config = OmegaConf.merge(base, own)
    assert isinstance(config, DictConfig)
    overrides = [o for o in parse(argv) if o.key_or_group != "resume"]
    changeable = [key for key in RESUMABLE if key in base]
    for override in overrides:
        key = override.key_or_group
        if key not in changeable:
            raise UserError(
                f"{override.input_line}: a resumed run keeps its settings, for others start a new run; "
                f"{nearest(key, changeable, 'open to change')}"
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


def source_of(config: DictConfig, run_dir: Path, total_steps: int) -> Path | None:
    """The checkpoint that a resumed run goes on from; None for a fresh run, or one that has none yet.

    Raises:
        UserError: the run is complete.
    """
    source = checkpoints.latest(run_dir) if config.resume else None
    if source is None:
        return None
    with user_errors():
        done = checkpoints.load(source).env_steps
    if done >= total_steps:
        raise UserError(f"the run is complete: {done:,} steps of {total_steps:,}. To go on: total_steps={2 * done}")
    return source


# Opening ----------------------------------------------------------------------------------------------------------


def check_free(run_dir: Path, command: str) -> None:
    """Raise UserError unless a run of ``embodied <command>`` may be kept there."""
    if not run_dir.exists() or (run_dir.is_dir() and not any(run_dir.iterdir())):
        return
    if (run_dir / CONFIG).exists():
        raise UserError(
            f"run_dir={run_dir} holds a run already. Continue it: embodied {command} resume={run_dir}; "
            "or choose another"
        )
    raise UserError(f"run_dir={run_dir} is there and not an empty folder; choose another")


def open_run(config: DictConfig, settings: dict[str, Any]) -> Path:
    """The run folder, with configuration and provenance in it; rank 0 decides which."""
    run_dir = Path(config.run_dir) if config.run_dir else _new_folder(settings["task"]["name"], config.seed)
    run_dir = Path(distributed.gather(str(run_dir))[0])
    if distributed.is_main():
        run_dir.mkdir(parents=True, exist_ok=True)
        temporary = run_dir / (CONFIG + ".tmp")
        temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(stored(settings))), encoding="utf-8")
        temporary.replace(run_dir / CONFIG)
        _note_provenance(run_dir / "provenance.json", config.seed)
    distributed.barrier()
    return run_dir


def stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint remembers: all but where the run lies, for it may be moved."""
    return {key: value for key, value in settings.items() if key not in ("run_dir", "resume")}


def _note_provenance(path: Path, seed: int) -> None:
    """Write where the run comes from; a resumed one keeps what stands there and adds itself to ``resumed``."""
    command = ["embodied", *sys.argv[1:]]
    if not path.exists():
        provenance.write(path, seed, command)
        return
    first = json.loads(path.read_text(encoding="utf-8"))
    first.setdefault("resumed", []).append(provenance.provenance(seed, command))
    path.write_text(json.dumps(first, indent=2) + "\n", encoding="utf-8")


def _new_folder(task: str, seed: int) -> Path:
    base = RUNS / task / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-seed{seed}"
    candidates = (base if i == 1 else base.with_name(f"{base.name}-{i}") for i in range(1, 1000))
    return next(path for path in candidates if not path.exists())


# Showing ----------------------------------------------------------------------------------------------------------


@contextmanager
def shown(spec: TaskSpec, run_dir: Path, total_steps: int) -> Iterator[list[Callable[[Record], None]]]:
    """The listeners that show a run's progress, for as long as it lasts; none beside rank 0."""
    if not distributed.is_main():
        yield []
        return
    display = make_display(f"{spec.name}  {run_dir}", spec.success_metric)
    try:
        yield [lambda record: display.update(record, total_steps)]
    finally:
        display.close()


def closing_words(result: TrainResult, spec: TaskSpec, command: str) -> None:
    """What was learnt by ``embodied <command>``, and what can be done with it."""
    run_dir = result.run_dir
    if not result.finished:
        say(f"stopped at step {result.env_steps:,}, saved as {result.checkpoint}")
        say(f"continue with: embodied {command} resume={run_dir}")
        return
    say(f"trained {spec.name} for {result.env_steps:,} steps: {run_dir}")
    say(f"next: embodied evaluate checkpoint={run_dir}")
    say(f"      embodied play checkpoint={run_dir}")
