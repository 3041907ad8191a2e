"""Minari's datasets: ``data/main_data.hdf5`` and ``data/metadata.json`` (documentation, "Dataset Standards").

``episode_<i>`` holds ``observations`` (T + 1, ...) as an array or a tree, ``actions`` (T, A), ``rewards``,
``terminations`` and ``truncations`` (T,), with ``id`` and ``total_steps`` as attributes. Infos are not read. Minari
does not say how long a step takes: reading the data of others needs ``control_dt``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from .episodes import DatasetError, DatasetInfo, Episode
from .files import read_json, write_json
from .hdf5 import (
    ALONE,
    Hdf5Reader,
    Hdf5Writer,
    get_flags,
    get_obs,
    put_flags,
    put_obs,
    vector,
    with_final,
    without_final,
)

MAIN, METADATA = "main_data.hdf5", "metadata.json"
VERSION = "0.5.0"
"""The version of Minari whose layout this is."""


class MinariReader(Hdf5Reader):
    """The episodes of a Minari dataset; path: its folder, or the folder ``data`` in it."""

    def __init__(self, path: str | Path, control_dt: float | None = None) -> None:
        folder = Path(path) / "data" if (Path(path) / "data").is_dir() else Path(path)
        self._folder, self._metadata = folder, read_json(folder / METADATA)
        if self._metadata.get("data_format", "hdf5") != "hdf5":
            raise DatasetError(f"{folder}: data_format is {self._metadata['data_format']!r}; only hdf5 is read")
        super().__init__(path, control_dt)

    @property
    def file(self) -> Path:
        """The HDF5 file."""
        return self._folder / MAIN

    def episode_names(self, file: Any) -> list[str]:
        """See :class:`Hdf5Reader`; numbered from 0 without gaps."""
        there = {name for name in file if name.startswith("episode_")}
        names = [f"episode_{i}" for i in range(int(self._metadata.get("total_episodes", len(there))))]
        missing = [name for name in names if name not in there]
        if missing or len(there) != len(names):
            fault = f"{missing[0]} is missing" if missing else f"{len(there)} episodes"
            raise DatasetError(f"{self.file}: {fault}; {METADATA} says total_episodes {len(names)}")
        return names

    def task(self, file: Any) -> str:
        """See :class:`Hdf5Reader`."""
        return str(self._metadata.get("dataset_id", self.path.name))

    def episode(self, group: Any, number: int) -> Episode:
        """See :class:`Hdf5Reader`."""
        where = self.where(number)
        action = group["actions"]
        if hasattr(action, "keys"):
            raise DatasetError(f"{where}: actions are a tree ({', '.join(action)}); only arrays are read")
        action = np.asarray(action[()], dtype=np.float32)
        told = int(group.attrs.get("total_steps", len(action)))
        if told != len(action):
            raise DatasetError(f"{where}: {len(action)} actions, total_steps says {told}")
        obs, final = without_final(get_obs(group["observations"]), len(action), where)
        terminated = bool(vector(group["terminations"], bool).any())
        return Episode(obs, action, vector(group["rewards"]), terminated, final_obs=final, **get_flags(group))


class MinariWriter(Hdf5Writer):
    """Writes a Minari dataset to a folder."""

    FILE = f"data/{MAIN}"
    SUFFIXES = ("",)

    def __init__(self, path: str | Path, info: DatasetInfo) -> None:
        super().__init__(path, info)
        self._steps = 0

    def _write(self, number: int, episode: Episode) -> None:
        group = self._file.create_group(f"episode_{number}")
        group.attrs.update({"id": number, "total_steps": len(episode)})
        last = np.arange(len(episode)) == len(episode) - 1
        put_obs(group, "observations", with_final(episode))
        group.create_dataset("actions", data=episode.action.astype(np.float32))
        group.create_dataset("rewards", data=episode.reward.astype(np.float32))
        group.create_dataset("terminations", data=last & episode.terminated)
        group.create_dataset("truncations", data=last & (not episode.terminated))
        put_flags(group, episode)
        self._steps += len(episode)

    def _finish(self) -> None:
        super()._finish()
        metadata = {
            "dataset_id": f"{self.info.task}/demos-v0",
            "total_episodes": self.count,
            "total_steps": self._steps,
            "data_format": "hdf5",
            "minari_version": VERSION,
            "observation_space": json.dumps(_observation_space(self.info)),
            "action_space": json.dumps(_box((self.info.action_size,), "float32", *_limits(self.info))),
        }
        write_json(self._work / "data" / METADATA, metadata)

    def _publish(self) -> None:
        os.replace(self._work, self.path)


def _observation_space(info: DatasetInfo) -> dict[str, Any]:
    boxes = {name: _box(group.shape, group.dtype, *_range(group.dtype)) for name, group in info.obs.items()}
    if list(boxes) == [ALONE]:
        return boxes[ALONE]
    tree: dict[str, Any] = {"type": "Dict", "subspaces": {}}
    for name, box in boxes.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node["subspaces"].setdefault(parent, {"type": "Dict", "subspaces": {}})
        node["subspaces"][leaf] = box
    return tree


def _box(shape: tuple[int, ...], dtype: str, low: float, high: float) -> dict[str, Any]:
    limits = {"low": np.full(shape, low).tolist(), "high": np.full(shape, high).tolist()}
    return {"type": "Box", "dtype": dtype, "shape": list(shape), **limits}


def _range(dtype: str) -> tuple[float, float]:
    return (0, 255) if dtype == "uint8" else (-np.inf, np.inf)


def _limits(info: DatasetInfo) -> tuple[float, float]:
    """The task's limits of actions, where it is known."""
    action = info.extra.get("spec", {}).get("action", {})
    low, high = action.get("low"), action.get("high")
    return -np.inf if low is None else low, np.inf if high is None else high
