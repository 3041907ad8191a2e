"""LeRobotDataset v3.0: where its files lie, and how observation groups are called in it.

Layout (documentation of LeRobot, "LeRobotDataset v3.0"): many episodes share a file, and ``meta/episodes`` says where
each of them lies::

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet                      one row a frame, all vectors
    videos/<camera>/chunk-000/file-000.mp4               one file a camera, episodes one after the other

``meta/embodied.json`` is ours: the exact control period, the units, and where the data come from. Other readers pass
over it, and other datasets lack it.
"""

from __future__ import annotations

from typing import Any

from .episodes import GroupInfo

VERSION = "v3.0"
INFO, STATS, TASKS, OWN = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/embodied.json"
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA = f"data/{_FILE}.parquet"
EPISODES = f"meta/episodes/{_FILE}.parquet"
VIDEO = f"videos/{{video_key}}/{_FILE}.mp4"
FILES_A_CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200

ACTION, REWARD, DONE = "action", "next.reward", "next.done"
TERMINATED, SUCCESS = "next.terminated", "next.success"
STATE, IMAGE, OBSERVATION = "observation.state", "observation.images.", "observation."
INDICES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has: seconds and number within the episode, the episode, number in the dataset, task."""


def feature_of(group: str, is_image: bool) -> str:
    """The name of an observation group in LeRobot: ``policy`` -> ``observation.state``."""
    if is_image:
        return IMAGE + group
    return STATE if group == "policy" else OBSERVATION + group


def group_of(feature: str) -> str:
    """The observation group that a feature is read as: the inverse of :func:`feature_of`."""
    return "policy" if feature == STATE else feature.removeprefix(IMAGE).removeprefix(OBSERVATION)


def next_file(chunk: int, file: int) -> tuple[int, int]:
    """Chunk and number of the file that follows."""
    return (chunk, file + 1) if file + 1 < FILES_A_CHUNK else (chunk + 1, 0)


def vector_feature(dtype: str, size: int, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """A feature of ``info.json`` that is stored in the data files."""
    return {"dtype": dtype, "shape": [size], "names": list(names) or None}


def video_feature(group: GroupInfo, fps: float) -> dict[str, Any]:
    """A feature of ``info.json`` that is stored as video."""
    height, width, channels = group.shape
    about = {"height": height, "width": width, "codec": "h264", "pix_fmt": "yuv420p", "fps": fps, "channels": channels}
    info = {f"video.{key}": value for key, value in about.items()}
    names = ["height", "width", "channels"]
    return {
        "dtype": "video",
        "shape": list(group.shape),
        "names": names,
        "info": {**info, "video.is_depth_map": False, "has_audio": False},
    }


def whole(x: float) -> float | int:
    """A rate as an integer where it is one."""
    return round(x) if abs(x - round(x)) < 1e-6 else x
