"""Reading LeRobotDataset v3.0, of our own making or of others'; the layout stands in ``lerobot_layout.py``.

Columns of numbers called ``observation.*`` become observation groups; so do videos. What a dataset does not say
(reward, success, whether an episode ended for good) is 0, None and False.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import lerobot_layout as layout
from .arrow import array_of, read_table
from .episodes import DatasetError, DatasetInfo, Episode, GroupInfo
from .files import Reader, need, read_json
from .video import FilmReader

ROW = ("episode_index", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")
PLACE = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
TOLERANCE_S = 1e-3
"""How far a time stamp, a float32, may be from frame / fps."""


class LeRobotReader(Reader):
    """The episodes of a folder that holds a LeRobotDataset v3.0."""

    def __init__(self, path: str | Path) -> None:
        need("pyarrow.parquet")
        self.path = Path(path)
        self._info = read_json(self.path / layout.INFO)
        self._check_version()
        try:
            self._fps = float(self._info["fps"])
            self._features: dict[str, Any] = self._info["features"]
            self._data_path = str(self._info["data_path"])
            self.info = self._dataset_info()
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise DatasetError(f"{self.path / layout.INFO} is damaged: {error!r}") from error
        self._tasks = _read_tasks(self.path / layout.TASKS)
        self._episodes = self._read_episodes()
        self._open: tuple[Path, Any] | None = None
        self._films: dict[str, FilmReader] = {}

    def __len__(self) -> int:
        return len(self._episodes)

    def read(self, number: int) -> Episode:
        """See :meth:`Reader.read`."""
        row, where = self._episodes[number], self.where(number)
        table = self._rows(number, row)
        self._check_indices(table, number, row)
        columns = {name: self._column(table, name, where) for name in self._columns()}
        obs = {}
        for feature in self._observations():
            group = layout.group_of(feature)
            if self._features[feature]["dtype"] == "video":
                obs[group] = self._frames(feature, row, where)
            else:
                obs[group] = columns[feature].reshape(len(table), -1).astype(self.info.obs[group].dtype)
        reward = columns.get(layout.REWARD, np.zeros(len(table))).reshape(-1).astype(np.float32)
        success = bool(columns[layout.SUCCESS].any()) if layout.SUCCESS in columns else None
        terminated = bool(columns[layout.TERMINATED].any()) if layout.TERMINATED in columns else False
        action = columns[layout.ACTION].reshape(len(table), -1).astype(np.float32)
        return Episode(obs, action, reward, terminated, success, self._instruction(table, where))

    def where(self, number: int) -> str:
        """The data file and the episode."""
        return f"{self._data_file(self._episodes[number])}: episode {number}"

    # The index ------------------------------------------------------------------------------------------------------

    def _check_version(self) -> None:
        version = str(self._info.get("codebase_version"))
        if not version.startswith("v3."):
            raise DatasetError(f"{self.path}: is a LeRobot dataset of version {version}; this reads {layout.VERSION}")

    def _dataset_info(self) -> DatasetInfo:
        """From ``info.json``, and from our own file where it is there."""
        own_path = self.path / layout.OWN
        own = read_json(own_path) if own_path.exists() else {}
        groups = {}
        for feature in self._observations():
            group = layout.group_of(feature)
            units = tuple(own.get("obs", {}).get(group, {}).get("units", ()))
            groups[group] = _group(self._features[feature], units)
        action = self._features[layout.ACTION]
        names = _names(action) or tuple(f"action.{i}" for i in range(int(action["shape"][0])))
        return DatasetInfo(
            task=str(own.get("task", self.path.name)),
            control_dt=float(own.get("control_dt", 1.0 / self._fps)),
            obs=groups,
            action_names=names,
            action_unit=str(own.get("action_unit", "1")),
            robot=self._info.get("robot_type"),
            extra=dict(own.get("extra", {})),
        )

    def _observations(self) -> list[str]:
        """The features that are read as observation groups; those of text are passed over."""
        names = [name for name in self._features if name.startswith(layout.OBSERVATION)]
        embedded = [name for name in names if self._features[name]["dtype"] == "image"]
        if embedded:
            raise ValueError(f"feature {embedded[0]!r} holds images in the data files; only videos are read")
        return [name for name in names if self._features[name]["dtype"] not in ("string", "language")]

    def _columns(self) -> list[str]:
        wanted = (layout.ACTION, layout.REWARD, layout.TERMINATED, layout.SUCCESS)
        vectors = [name for name in self._observations() if self._features[name]["dtype"] != "video"]
        return [*vectors, *(name for name in wanted if name in self._features)]

    def _read_episodes(self) -> list[dict[str, Any]]:
        """A row an episode, in order; contiguous in episodes and in frames."""
        paths = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        if not paths:
            raise DatasetError(f"{self.path}: meta/episodes holds no parquet file")
        cameras = [name for name, feature in self._features.items() if feature["dtype"] == "video"]
        wanted = [*ROW, *(f"videos/{camera}/{name}" for camera in cameras for name in PLACE)]
        rows = [row for path in paths for row in read_table(path, wanted).to_pylist()]
        end = 0
        for number, row in enumerate(rows):
            where = f"{paths[0].parent.parent}: row {number}"
            if row["episode_index"] != number:
                raise DatasetError(f"{where}: episode_index is {row['episode_index']}; episodes are to be 0, 1, 2, ...")
            if row["dataset_from_index"] != end or row["dataset_to_index"] != end + row["length"]:
                raise DatasetError(
                    f"{where}: frames {row['dataset_from_index']} to {row['dataset_to_index']} of an episode of "
                    f"{row['length']} that should begin at {end}"
                )
            end = row["dataset_to_index"]
        for name, found in (("total_episodes", len(rows)), ("total_frames", end)):
            if self._info.get(name, found) != found:
                raise DatasetError(f"{self.path}: {layout.INFO} says {name} {self._info[name]}, meta/episodes {found}")
        return rows

    # One episode ------------------------------------------------------------------------------------------------------

    def _rows(self, number: int, row: dict[str, Any]) -> Any:
        """The episode's part of its data file; the file stays open for the episodes that follow."""
        path = self._data_file(row)
        if self._open is None or self._open[0] != path:
            self._open = path, read_table(path, [*self._columns(), *layout.INDICES])
        table = self._open[1]
        first = int(table.column("index")[0].as_py()) if len(table) else 0
        part = table.slice(max(0, row["dataset_from_index"] - first), row["length"])
        if len(part) != row["length"]:
            raise DatasetError(f"{self.where(number)}: the file holds {len(part)} of its {row['length']} frames")
        return part

    def _data_file(self, row: dict[str, Any]) -> Path:
        chunk, file = row["data/chunk_index"], row["data/file_index"]
        return self.path / self._data_path.format(chunk_index=chunk, file_index=file)

    def _check_indices(self, table: Any, number: int, row: dict[str, Any]) -> None:
        steps, where = len(table), self.where(number)
        expected = {
            "episode_index": np.full(steps, number),
            "frame_index": np.arange(steps),
            "index": np.arange(row["dataset_from_index"], row["dataset_to_index"]),
        }
        for name, values in expected.items():
            found = self._column(table, name, where)
            if not np.array_equal(found, values):
                step = int((found != values).argmax())
                raise DatasetError(f"{where}: {name} is {found[step]} at step {step}, not {values[step]}")
        late = np.abs(self._column(table, "timestamp", where) - np.arange(steps) / self._fps)
        if not late.max() <= TOLERANCE_S:
            raise DatasetError(f"{where}: timestamp at step {int(late.argmax())} is not step / fps ({self._fps:g} fps)")

    def _column(self, table: Any, name: str, where: str) -> np.ndarray:
        try:
            return array_of(table.column(name))
        except ValueError as error:
            raise DatasetError(f"{where}: column {name!r}: {error}") from error

    def _frames(self, feature: str, row: dict[str, Any], where: str) -> np.ndarray:
        chunk, file, start, _ = (row[f"videos/{feature}/{name}"] for name in PLACE)
        place = str(self._info["video_path"]).format(video_key=feature, chunk_index=chunk, file_index=file)
        film = self._films.get(feature)
        if film is None or film.path != self.path / place:
            film = self._films[feature] = FilmReader(self.path / place)
        return film.read(float(start), row["length"], self._fps, where)

    def _instruction(self, table: Any, where: str) -> str:
        task = int(table.column("task_index")[0].as_py())
        if task not in self._tasks:
            raise DatasetError(f"{where}: task_index {task} is not in {layout.TASKS}")
        return self._tasks[task]


def _group(feature: dict[str, Any], units: tuple[str, ...]) -> GroupInfo:
    shape = tuple(int(n) for n in feature["shape"])
    if feature["dtype"] != "video":
        return GroupInfo((int(np.prod(shape)),), str(feature["dtype"]), _names(feature), units)
    if shape[0] == 3 and shape[-1] != 3:  # some datasets state (channels, height, width); frames are read the other way
        shape = (*shape[1:], shape[0])
    return GroupInfo(shape, "uint8")


def _names(feature: dict[str, Any]) -> tuple[str, ...]:
    """Element names, which stand there as a list or as one under ``motors`` or the like."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = next((value for value in names.values() if isinstance(value, list)), None)
    fits = isinstance(names, list) and len(names) == int(np.prod(feature["shape"]))
    return tuple(str(name) for name in names) if fits else ()  # type: ignore[union-attr]


def _read_tasks(path: Path) -> dict[int, str]:
    """task_index -> text; the text is the index of a data frame, whose column has one of two names."""
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
        text = next(name for name in ("task", "__index_level_0__") if name in table.column_names)
        return dict(zip(table.column("task_index").to_pylist(), table.column(text).to_pylist(), strict=True))
    except (OSError, arrow.ArrowException, KeyError, StopIteration) as error:
        raise DatasetError(f"cannot read the tasks in {path}: {error!r}") from error
