"""Write a dataset in another format: LeRobot, ManiSkill, robomimic, Minari. The last line is one JSON object.

embodied convert from=data/pick_cube to=pick_cube.hdf5 format=robomimic
embodied convert from=PickCube-v1/trajectory.h5 to=data/pick_cube 'state=[agent.qpos,agent.qvel,extra.obj_pose]'
embodied convert from=~/.minari/datasets/mujoco/hopper/expert-v0 to=data/hopper control_dt=0.008
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from embodied.configuration import choice
from embodied.datasets import FORMATS, open_dataset
from embodied.datasets.convert import convert

from .common import user_errors
from .config import compose, plain, typed
from .evaluate import progress


@dataclass(frozen=True)
class ConvertConfig:
    """The settings of a conversion.

    source: the dataset; its format shows in its files. ``from`` means the same.
    target: the new dataset, a folder or a file as its format wants it. ``to`` means the same.
    format: of the new dataset: lerobot, maniskill, minari or robomimic; default: what the name's ending suggests.
    state: observation groups that become the one group `policy`, in this order; default: as they are.
    control_dt: seconds between frames, where the data do not say (Minari).
    """

    source: str = MISSING
    target: str = MISSING
    format: str | None = None
    state: Any = None
    control_dt: float | None = None

    def __post_init__(self) -> None:
        if self.format is not None:
            choice("format", self.format, FORMATS)


SCHEMA = ConvertConfig
WORDS = {"from": "source", "to": "target"}
"""What is written on the command line; ``from`` cannot name a field of a dataclass."""


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    composed = compose(ConvertConfig, "convert", [_renamed(argument) for argument in argv])
    config, groups = typed(ConvertConfig, composed), plain(composed)["state"] or ()
    source, target = Path(config.source).expanduser(), Path(config.target).expanduser()
    name = config.format or suggested(target)
    with user_errors(), progress() as report:
        reader = open_dataset(source, config.control_dt)
        info = convert(reader, target, name, groups, report)
    groups_shown = {name: list(group.shape) for name, group in info.obs.items()}
    result = {"dataset": str(target), "format": name, "task": info.task, "episodes": len(reader), "obs": groups_shown}
    print(json.dumps(result))
    return 0


def suggested(target: Path) -> str:
    """The format that a name suggests: ``.h5`` is ManiSkill's, ``.hdf5`` robomimic's, a folder LeRobot's."""
    return {".h5": "maniskill", ".hdf5": "robomimic"}.get(target.suffix, "lerobot")


def _renamed(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return f"{WORDS.get(key, key)}{equals}{value}"
