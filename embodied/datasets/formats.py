"""Dataset formats by name; a dataset on the disk says by its files which one it is."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from itertools import chain
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


def load_episodes(paths: str | Path | Sequence[str | Path], folder: Path | None = None) -> Episodes:
    """A whole dataset, or several of one task as one; with a folder, images are kept on that disk, not in memory.

    Raises:
        DatasetError: there is none, or they do not go together; the message says what differs.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise DatasetError("no dataset is named")
    readers = [open_dataset(path) for path in paths]
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise DatasetError(f"a dataset is named twice: {', '.join(map(str, paths))}")
    first = readers[0].info
    for path, reader in zip(paths[1:], readers[1:], strict=True):
        same_kind(first, reader.info, f"{paths[0]} and {path}")
    return Episodes(first, chain.from_iterable(readers), folder)


def same_kind(a: DatasetInfo, b: DatasetInfo, which: str) -> None:
    """Raise DatasetError unless episodes of both can be learnt from together."""
    pairs: dict[str, tuple[Any, Any]] = {
        "task": (a.task, b.task),
        "control_dt": (round(a.control_dt, 9), round(b.control_dt, 9)),
        "action_names": (a.action_names, b.action_names),
        "action_unit": (a.action_unit, b.action_unit),
        "observation groups": (sorted(a.obs), sorted(b.obs)),
    }
    for name in sorted(a.obs.keys() & b.obs.keys()):
        x, y = a.obs[name], b.obs[name]
        pairs[f"the shape of group {name}"] = (x.shape, x.dtype), (y.shape, y.dtype)
        for what in ("names", "units"):  # which not every format knows
            if getattr(x, what) and getattr(y, what):
                pairs[f"the {what} of group {name}"] = getattr(x, what), getattr(y, what)
    differ = [f"{name} {x} is not {y}" for name, (x, y) in pairs.items() if x != y]
    if differ:
        raise DatasetError(f"{which} do not go together: {'; '.join(differ)}")


def _load(target: str) -> Any:
    module, name = target.split(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)
