"""Writing LeRobotDataset v3.0; the layout stands in ``lerobot_layout.py``.

Observation groups of vectors become columns, RGB images become videos. An episode's last observation, after its last
action, has no place in this format and is left out.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..video import VideoWriter
from . import lerobot_layout as layout
from .arrow import array_of, table_of
from .episodes import DatasetError, DatasetInfo, Episode
from .files import Writer, need, write_json
from .statistics import image_statistics, merged, statistics

Stats = dict[str, dict[str, list[Any]]]

VIDEO_QUALITY = 18
KEYFRAME_INTERVAL = 2
"""Frames between those that can be decoded on their own: random access is what training does."""


class LeRobotWriter(Writer):
    """Writes episodes as LeRobotDataset v3.0 to a folder.

    data_mb, video_mb: size at which a new file is begun.
    """

    def __init__(
        self,
        path: str | Path,
        info: DatasetInfo,
        data_mb: float = layout.DATA_MB,
        video_mb: float = layout.VIDEO_MB,
    ) -> None:
        need("pyarrow.parquet")
        for name, group in info.obs.items():
            if not group.is_image and len(group.shape) != 1:
                raise DatasetError(
                    f"{path}: LeRobot holds vectors and RGB images of uint8; group {name!r} is {group.dtype} of shape "
                    f"{group.shape}"
                )
        super().__init__(path, info)
        self._fps = layout.whole(1.0 / info.control_dt)
        self._tasks: dict[str, int] = {}
        self._frames, self._stats, self._rows = 0, [], []  # type: int, list[Stats], list[dict[str, Any]]
        self._data = _DataFiles(self._work, data_mb)
        self._videos = {
            layout.feature_of(name, True): _VideoFiles(
                self._work, layout.feature_of(name, True), group, self._fps, video_mb
            )
            for name, group in info.obs.items()
            if group.is_image
        }
        self._knows_success: bool | None = None

    def _write(self, number: int, episode: Episode) -> None:
        if self._knows_success not in (None, episode.success is not None):
            raise DatasetError(f"{self.path}: episode {number}: success is known of some episodes only")
        self._knows_success = episode.success is not None
        text = episode.instruction or self.info.task
        task = self._tasks.setdefault(text, len(self._tasks))
        columns = self._columns(episode) | _indices(len(episode), number, self._frames, task, self._fps)
        row: dict[str, Any] = {"episode_index": number, "tasks": [text], "length": len(episode)}
        row |= {"dataset_from_index": self._frames, "dataset_to_index": self._frames + len(episode)}
        row |= self._data.add(columns)
        stats = {name: statistics(x) for name, x in columns.items()}
        for name, group in self.info.obs.items():
            if group.is_image:
                feature = layout.feature_of(name, True)
                row |= self._videos[feature].add(episode.obs[name])
                stats[feature] = image_statistics(episode.obs[name])
        self._frames += len(episode)
        self._stats.append(stats)
        self._rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})

    def _columns(self, episode: Episode) -> dict[str, np.ndarray]:
        """What the data files hold of an episode, feature -> (T, n) or (T,)."""
        columns = {
            layout.feature_of(name, False): episode.obs[name].astype(group.dtype)
            for name, group in self.info.obs.items()
            if not group.is_image
        }
        last = np.zeros(len(episode), dtype=bool)
        last[-1] = True
        columns[layout.ACTION] = episode.action.astype(np.float32)
        columns[layout.REWARD] = episode.reward.astype(np.float32)
        columns |= {layout.DONE: last, layout.TERMINATED: last & episode.terminated}
        if episode.success is not None:
            columns[layout.SUCCESS] = last & episode.success
        return columns

    def _finish(self) -> None:
        self._release()
        write_json(self._work / layout.INFO, self._info_json())
        write_json(self._work / layout.STATS, self._all_stats())
        own = dataclasses.asdict(self.info) | {"total_episodes": self.count}
        write_json(self._work / layout.OWN, own)
        _write_tasks(self._work / layout.TASKS, list(self._tasks))
        _write_episodes(self._work / layout.EPISODES.format(chunk_index=0, file_index=0), self._rows, self._stats)

    def _all_stats(self) -> Stats:
        """Of all frames: exact for columns, one of them in memory at a time; of videos merged from the episodes'."""
        found = {name: statistics(self._data.column(name)) for name in self._data.names}
        return found | {name: merged([stats[name] for stats in self._stats]) for name in self._videos}

    def _info_json(self) -> dict[str, Any]:
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self.info.robot,
            "total_episodes": self.count,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.FILES_A_CHUNK,
            "data_files_size_in_mb": layout.DATA_MB,
            "video_files_size_in_mb": layout.VIDEO_MB,
            "fps": self._fps,
            "splits": {"train": f"0:{self.count}"},
            "data_path": layout.DATA,
            "video_path": layout.VIDEO if self._videos else None,
            "features": self._features(),
        }

    def _features(self) -> dict[str, Any]:
        features = {}
        for name, group in self.info.obs.items():
            feature = layout.feature_of(name, group.is_image)
            features[feature] = (
                layout.video_feature(group, self._fps)
                if group.is_image
                else layout.vector_feature(group.dtype, group.shape[0], group.names)
            )
        features[layout.ACTION] = layout.vector_feature("float32", self.info.action_size, self.info.action_names)
        features[layout.REWARD] = layout.vector_feature("float32", 1)
        flags = (layout.DONE, layout.TERMINATED, *((layout.SUCCESS,) if self._knows_success else ()))
        features |= {name: layout.vector_feature("bool", 1) for name in flags}
        return features | {name: layout.vector_feature(dtype, 1) for name, dtype in layout.INDICES.items()}

    def _release(self) -> None:
        self._data.close()
        for videos in self._videos.values():
            videos.close()


def _indices(steps: int, episode: int, first: int, task: int, fps: float) -> dict[str, np.ndarray]:
    frame = np.arange(steps, dtype=np.int64)
    return {
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(steps, episode, dtype=np.int64),
        "index": first + frame,
        "task_index": np.full(steps, task, dtype=np.int64),
    }


class _DataFiles:
    """The parquet files of the frames; an episode is a row group and lies in one file."""

    def __init__(self, root: Path, limit_mb: float) -> None:
        self._root, self._limit, self._bytes = root, limit_mb * 2**20, 0
        self._place = (0, 0)
        self._writer: Any = None
        self._paths: list[Path] = []
        self.names: list[str] = []

    def add(self, columns: dict[str, np.ndarray]) -> dict[str, int]:
        """Append an episode; where it lies, for its row in ``meta/episodes``."""
        table = table_of(columns)
        if self._writer is not None and self._bytes + table.nbytes > self._limit:
            self.close()
            self._place = layout.next_file(*self._place)
        if self._writer is None:
            self._open(table.schema)
        self.names = list(columns)
        self._bytes += table.nbytes
        self._writer.write_table(table)
        return {"data/chunk_index": self._place[0], "data/file_index": self._place[1]}

    def _open(self, schema: Any) -> None:
        path = self._root / layout.DATA.format(chunk_index=self._place[0], file_index=self._place[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer, self._bytes = need("pyarrow.parquet").ParquetWriter(path, schema, compression="snappy"), 0
        self._paths.append(path)

    def column(self, name: str) -> np.ndarray:
        """All frames of a feature, (F, n) or (F,)."""
        parquet = need("pyarrow.parquet")
        columns = [parquet.read_table(path, columns=[name]).column(name) for path in self._paths]
        return np.concatenate([array_of(column) for column in columns])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _VideoFiles:
    """The videos of one camera."""

    def __init__(self, root: Path, feature: str, group: Any, fps: float, limit_mb: float) -> None:
        self._root, self._feature, self._shape, self._fps, self._limit = root, feature, group.shape, fps, limit_mb
        self._place = (0, 0)
        self._file: VideoWriter | None = None

    def add(self, frames: np.ndarray) -> dict[str, Any]:
        """Append an episode; where it lies."""
        if self._file is not None and self._file.megabytes > self._limit:
            self.close()
            self._place = layout.next_file(*self._place)
        if self._file is None:
            chunk, number = self._place
            path = layout.VIDEO.format(video_key=self._feature, chunk_index=chunk, file_index=number)
            height, width = self._shape[:2]
            self._file = VideoWriter(
                self._root / path, width, height, self._fps, VIDEO_QUALITY, keyframe_interval=KEYFRAME_INTERVAL
            )
        start = self._file.seconds
        for frame in frames:
            self._file.add(frame)
        found = {"chunk_index": self._place[0], "file_index": self._place[1]}
        found |= {"from_timestamp": start, "to_timestamp": self._file.seconds}  # type: ignore[dict-item]
        return {f"videos/{self._feature}/{name}": value for name, value in found.items()}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


# Meta -----------------------------------------------------------------------------------------------------------------


def _write_tasks(path: Path, tasks: list[str]) -> None:
    """The texts, as the data frame indexed by ``task`` that LeRobot reads with pandas."""
    arrow = need("pyarrow")
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {**index, "name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": [number, index], "pandas_version": "2.0.0"}
    table = arrow.table({"task_index": arrow.array(range(len(tasks)), arrow.int64()), "task": tasks})
    table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
    need("pyarrow.parquet").write_table(table, path)


def _write_episodes(path: Path, rows: list[dict[str, Any]], stats: list[Stats]) -> None:
    flat = [
        row | {f"stats/{feature}/{name}": x for feature, found in each.items() for name, x in found.items()}
        for row, each in zip(rows, stats, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow = need("pyarrow")
    need("pyarrow.parquet").write_table(arrow.Table.from_pylist(flat), path)
