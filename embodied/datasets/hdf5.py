"""What the HDF5 formats share: observations as trees of arrays, our metadata in an attribute, damage told clearly.

Observation groups: an array alone is the group ``policy``; the leaves of a tree are groups named by their path, with
dots (``agent.qpos``). Formats that hold T + 1 observations get the last one twice where ``final_obs`` is not known.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .episodes import Arrays, DatasetError, DatasetInfo, Episode, GroupInfo
from .files import Reader, Writer, need

OWN = "embodied"
"""Attribute of the file with the ``DatasetInfo`` as JSON; other readers pass over it."""
ALONE = "policy"


class Hdf5Reader(Reader):
    """Episodes that are groups of one HDF5 file.

    control_dt: seconds between frames, where the data do not say.
    """

    def __init__(self, path: str | Path, control_dt: float | None = None) -> None:
        need("h5py")
        self.path = Path(path)
        self._given_dt = control_dt
        with self.opened() as file:
            self._names = self.episode_names(file)
            if not self._names:
                raise DatasetError(f"{self.file}: holds no episodes")
            own = file.attrs.get(OWN)
            self.info = _info_from(json.loads(own)) if own is not None else self._guess(file)

    @property
    def file(self) -> Path:
        """The HDF5 file."""
        return self.path

    def episode_names(self, file: Any) -> list[str]:
        """The groups of the episodes, in order."""
        raise NotImplementedError

    def episode(self, group: Any, number: int) -> Episode:
        """An episode from its group. KeyError where something is missing."""
        raise NotImplementedError

    def task(self, file: Any) -> str:
        """The task's name."""
        raise NotImplementedError

    def period(self, file: Any) -> float | None:
        """Seconds between frames, or None where the data do not say."""
        return None

    def __len__(self) -> int:
        return len(self._names)

    def where(self, number: int) -> str:
        """The file and the group."""
        return f"{self.file}: episode {number} ({self._names[number]})"

    def read(self, number: int) -> Episode:
        """See :meth:`Reader.read`."""
        with self.opened() as file, self._complaints(number):
            return self.episode(file[self._names[number]], number)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, for reading."""
        try:
            file = need("h5py").File(self.file, "r")
        except OSError as error:
            raise DatasetError(f"cannot read {self.file}: {error}") from error
        with file:
            yield file

    @contextmanager
    def _complaints(self, number: int) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise DatasetError(f"{self.where(number)}: {error.args[0]}") from error
        except OSError as error:  # a chunk that cannot be decoded
            raise DatasetError(f"{self.where(number)}: cannot read it: {error}") from error

    def _guess(self, file: Any) -> DatasetInfo:
        """What the first episode tells of a dataset that others made."""
        with self._complaints(0):
            first = self.episode(file[self._names[0]], 0)
        period = self._given_dt or self.period(file)
        if period is None:
            raise DatasetError(f"{self.file} does not say its control period: give control_dt, in seconds")
        obs = {name: GroupInfo(x.shape[1:], str(x.dtype)) for name, x in first.obs.items()}
        names = tuple(f"action.{i}" for i in range(first.action.shape[-1]))
        return DatasetInfo(self.task(file), period, obs, names)


class Hdf5Writer(Writer):
    """Writes episodes as groups of one HDF5 file.

    SUFFIXES: what a dataset of this format may be called.
    """

    FILE = "data.h5"
    SUFFIXES: tuple[str, ...] = (".h5", ".hdf5")

    def __init__(self, path: str | Path, info: DatasetInfo) -> None:
        if Path(path).suffix not in self.SUFFIXES:
            raise DatasetError(
                f"{path}: a dataset of this format is called {' or '.join(f'*{s}' for s in self.SUFFIXES)}"
            )
        h5py = need("h5py")
        super().__init__(path, info)
        (self._work / self.FILE).parent.mkdir(exist_ok=True)
        self._file = h5py.File(self._work / self.FILE, "w")
        self._file.attrs[OWN] = json.dumps(dataclasses.asdict(info))

    def _finish(self) -> None:
        self._release()

    def _release(self) -> None:
        self._file.close()

    def _publish(self) -> None:
        """Move the file out of the work folder, and the JSON beside it first, so that the file is never alone."""
        beside = self._work / "data.json"
        if beside.exists():
            os.replace(beside, self.path.with_suffix(".json"))
        os.replace(self._work / self.FILE, self.path)
        shutil.rmtree(self._work)


def put_flags(group: Any, episode: Episode) -> None:
    """What the formats have no place for, as attributes of an episode's group."""
    group.attrs["instruction"] = episode.instruction
    if episode.success is not None:
        group.attrs["success"] = episode.success


def get_flags(group: Any) -> dict[str, Any]:
    """``instruction`` and ``success`` from :func:`put_flags`, where they are there."""
    success = group.attrs.get("success")
    return {
        "instruction": str(group.attrs.get("instruction", "")),
        "success": None if success is None else bool(success),
    }


# Observations --------------------------------------------------------------------------------------------------------


def put_obs(group: Any, name: str, obs: Mapping[str, np.ndarray]) -> None:
    """Write observation groups as the array or the tree ``name``; images are compressed."""
    if list(obs) == [ALONE]:
        group.create_dataset(name, data=obs[ALONE])
        return
    for path, x in obs.items():
        options = {"compression": "gzip"} if x.dtype == np.uint8 else {}
        group.create_dataset(f"{name}/{path.replace('.', '/')}", data=x, **options)


def get_obs(node: Any) -> Arrays:
    """The observation groups of an array or a tree; 64-bit floats become 32-bit ones, single numbers vectors."""
    if not hasattr(node, "keys"):
        return {ALONE: _array(node)}
    found: Arrays = {}
    for key in node:
        for path, x in get_obs(node[key]).items():
            found[key if not hasattr(node[key], "keys") else f"{key}.{path}"] = x
    return found


def _array(node: Any) -> np.ndarray:
    x = np.asarray(node[()])
    x = x.astype(np.float32) if x.dtype == np.float64 else x
    return x[:, None] if x.ndim == 1 else x


def with_final(episode: Episode) -> Arrays:
    """Observations (T + 1, ...) of an episode."""
    last = episode.final_obs or {name: x[-1] for name, x in episode.obs.items()}
    return {name: np.concatenate([x, last[name][None]]) for name, x in episode.obs.items()}


def without_final(obs: Arrays, steps: int, where: str) -> tuple[Arrays, Arrays]:
    """Observations (T, ...) and the last one (...), from (T + 1, ...)."""
    for name, x in obs.items():
        if len(x) != steps + 1:
            raise DatasetError(
                f"{where}: obs {name!r} has {len(x)} rows for {steps} actions; one more than actions is due"
            )
    return {name: x[:-1] for name, x in obs.items()}, {name: x[-1] for name, x in obs.items()}


def vector(node: Any, dtype: Any = np.float32) -> np.ndarray:
    """A dataset (T,), or (T, 1) as some write it, as (T,)."""
    return np.asarray(node[()], dtype=dtype).reshape(-1)


def by_number(names: Iterator[str] | list[str], prefix: str) -> list[str]:
    """Those of the names that are a prefix and a number, in the numbers' order: demo_2 before demo_10."""
    numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return [f"{prefix}{n}" for n in sorted((n for n in numbers if n.isdigit()), key=int)]


def _info_from(data: dict[str, Any]) -> DatasetInfo:
    """The inverse of ``dataclasses.asdict`` after a trip through JSON."""
    obs = {
        name: GroupInfo(tuple(g["shape"]), g["dtype"], tuple(g["names"]), tuple(g["units"]))
        for name, g in data["obs"].items()
    }
    return DatasetInfo(**{**data, "obs": obs, "action_names": tuple(data["action_names"])})
