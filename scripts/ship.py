"""Put a run's newest checkpoint among those that come with the suite, with what made it and how it was judged.

python -m scripts.ship runs/go2_velocity/2026-01-31_12-00-00-seed0 go2_velocity
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embodied import checkpoint as checkpoints

from .common import SHIPPED

LOCAL = ("run_dir=", "resume=", "num_threads=", "device=")
"""Arguments of a training command that mean nothing on another machine."""


def main(argv: Sequence[str]) -> int:
    """Ship a run; 0, or 2 with a message."""
    if len(argv) != 2:
        print(__doc__)
        return 2
    print(ship(Path(argv[0]), argv[1]))
    return 0


def ship(run: Path, name: str, shelf: Path = SHIPPED) -> Path:
    """Copy the model and an index without training state to ``shelf/name``; returns that folder.

    Raises:
        CheckpointError: the run has no sound checkpoint.
    """
    source = checkpoints.load(run).path
    index = json.loads((source / checkpoints.INDEX).read_text(encoding="utf-8"))
    index["sha256"] = {checkpoints.MODEL: index["sha256"][checkpoints.MODEL]}
    index["made_by"] = made_by(run)
    if "command" in index["made_by"]:
        index["made_by"]["command"] = with_task(index["made_by"]["command"], index["spec"]["name"])
    index["evaluation"] = _evaluation(run)
    target = shelf / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / checkpoints.MODEL, target / checkpoints.MODEL)
    (target / checkpoints.INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return target


def made_by(run: Path) -> dict[str, Any]:
    """The command, seed, commit and versions, as far as they mean something elsewhere."""
    path = run / "provenance.json"
    if not path.exists():
        return {}
    whole = json.loads(path.read_text(encoding="utf-8"))
    command = [part for part in whole["command"] if not part.startswith(LOCAL)]
    return {"command": " ".join(command), **{key: whole[key] for key in ("seed", "commit", "python", "versions")}}


def with_task(command: str, task: str) -> str:
    """A training command that names its task, which ``init=`` alone leaves to a run that others do not have."""
    if " task=" in command:
        return command
    return command.replace("embodied train ", f"embodied train task={task} ", 1)


def _evaluation(run: Path) -> dict[str, Any] | None:
    path = run / "evaluation.json"
    if not path.exists():
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    return {key: result[key] for key in ("task", "episodes", "seed", "metrics") if key in result}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
