"""Dataset formats by name; a dataset on the disk says by its files which one it is."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

from ..configuration import choice
from .episodes import DatasetError, DatasetInfo, Episodes
from .files import Reader, Writer


class Format(NamedTuple):
    """A format: ``module:class`` of its reader and its writer, and what lies at a dataset's path."""

    reader: str
    writer: str
    looks_like: str


FORMATS = {
    "lerobot": Format("lerobot_read:LeRobotReader", "lerobot_write:LeRobotWriter", "a folder with meta/info.json"),
    "minari": Format("minari:MinariReader", "minari:MinariWriter", "a folder with data/main_data.hdf5"),
    "maniskill": Format("maniskill:ManiSkillReader", "maniskill:ManiSkillWriter", "a file .h5 with a .json beside it"),
    "robomimic": Format("robomimic:RobomimicReader", "robomimic:RobomimicWriter", "a file .hdf5"),
}


def detect(path: str | Path) -> str:
    """The format of a dataset. Raises DatasetError where it is none that is known."""
    path = Path(path)
    if (path / "meta" / "info.json").exists():
        return "lerobot"
    if (path / "data" / "main_data.hdf5").exists() or (path / "main_data.hdf5").exists():
        return "minari"
    if path.is_file() and path.suffix in (".h5", ".hdf5"):
        return "maniskill" if path.with_suffix(".json").exists() else "robomimic"
    known = "; ".join(f"{name}: {format_.looks_like}" for name, format_ in FORMATS.items())
    raise DatasetError(f"{path} {'is no dataset' if path.exists() else 'does not exist'}. Known: {known}")


def open_dataset(path: str | Path, control_dt: float | None = None) -> Reader:
    """A reader of a dataset, in the format that it looks like.

    control_dt: seconds between frames, where an HDF5 file does not say.
    """
    name = detect(path)
    reader = _load(FORMATS[name].reader)
    return reader(path) if name == "lerobot" else reader(path, control_dt)


def create_dataset(path: str | Path, info: DatasetInfo, format_name: str = "lerobot") -> Writer:
    """A writer of a new dataset."""
    choice("format", format_name, FORMATS)
    return _load(FORMATS[format_name].writer)(path, info)


def load_episodes(path: str | Path, folder: Path | None = None) -> Episodes:
    """A whole dataset; with a folder, its images are kept on that disk and need not fit into memory."""
    reader = open_dataset(path)
    return Episodes(reader.info, reader, folder)


def _load(target: str) -> Any:
    module, name = target.split(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)
