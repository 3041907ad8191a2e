"""Ours is read with pyarrow, json and PyAV alone; what is read by ours is laid out by hand as LeRobot publishes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied.datasets import DatasetError, DatasetInfo, GroupInfo, create_dataset, open_dataset
from embodied.datasets.lerobot_layout import feature_of, group_of, next_file
from embodied.datasets.lerobot_write import LeRobotWriter

from .examples import CAMERA, INFO, episode, filmed, same

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with create_dataset(tmp_path / "push", INFO) as writer:
        for number, steps in enumerate((3, 2, 4)):
            writer.add(episode(steps, number))
    return tmp_path / "push"


# Ours, read by others ------------------------------------------------------------------------------------------------


def test_the_files_are_where_the_layout_wants_them(written: Path) -> None:
    files = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "meta/embodied.json",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]


def test_info_says_what_is_there(written: Path) -> None:
    info = json.loads((written / "meta/info.json").read_text())
    totals = {name: info[name] for name in ("codebase_version", "total_episodes", "total_frames", "total_tasks", "fps")}
    assert totals == {"codebase_version": "v3.0", "total_episodes": 3, "total_frames": 9, "total_tasks": 2, "fps": 10}
    assert info["splits"] == {"train": "0:3"} and info["robot_type"] == "arm" and info["video_path"] is None
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["features"]["observation.state"] == {"dtype": "float32", "shape": [3], "names": ["x", "y", "z"]}
    assert info["features"]["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    columns = parquet.read_schema(written / "data/chunk-000/file-000.parquet").names
    assert sorted(columns) == sorted(info["features"])


def test_frames_are_columns_of_the_right_types(written: Path) -> None:
    table = parquet.read_table(written / "data/chunk-000/file-000.parquet")
    types = {name: str(table.schema.field(name).type) for name in table.schema.names}
    assert types["observation.state"] == "fixed_size_list<element: float>[3]"
    assert types["observation.goal"] == "float"  # an element alone is no list
    assert (types["timestamp"], types["index"], types["next.done"]) == ("float", "int64", "bool")
    rows = table.to_pylist()
    assert [row["episode_index"] for row in rows] == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert [row["frame_index"] for row in rows] == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    assert [row["index"] for row in rows] == list(range(9))
    assert [row["task_index"] for row in rows] == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert [round(row["timestamp"], 6) for row in rows[:3]] == [0.0, 0.1, 0.2]
    assert [row["next.done"] for row in rows] == [False, False, True, False, True, False, False, False, True]
    assert [row["next.success"] for row in rows[:5]] == [False, False, True, False, False]
    assert rows[4]["observation.state"] == [101.0, 101.25, 101.5]
    assert rows[4]["action"] == pytest.approx([1.01, -1.0])


def test_episodes_and_tasks_lead_to_the_frames(written: Path) -> None:
    rows = parquet.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"], row["length"]) for row in rows] == [
        (0, 3, 3),
        (3, 5, 2),
        (5, 9, 4),
    ]
    assert rows[1]["tasks"] == ["push 1"] and rows[1]["data/chunk_index"] == rows[1]["data/file_index"] == 0
    assert rows[1]["stats/next.reward/max"] == [1.0] and rows[1]["stats/observation.state/count"] == [2]
    tasks = parquet.read_table(written / "meta/tasks.parquet")
    assert dict(zip(tasks.column("task").to_pylist(), tasks.column("task_index").to_pylist(), strict=True)) == {
        "push 0": 0,
        "push 1": 1,
    }
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_tasks_are_a_frame_indexed_by_text(written: Path) -> None:
    pandas = pytest.importorskip("pandas")
    tasks = pandas.read_parquet(written / "meta/tasks.parquet")
    assert int(tasks.loc["push 1"].task_index) == 1


def test_stats_are_those_of_all_frames(written: Path) -> None:
    stats = json.loads((written / "meta/stats.json").read_text())
    state = np.concatenate([episode(steps, n).obs["policy"] for n, steps in enumerate((3, 2, 4))]).astype(np.float64)
    assert stats["observation.state"]["count"] == [9]
    for name, expected in {
        "mean": state.mean(0),
        "std": state.std(0),
        "min": state.min(0),
        "max": state.max(0),
        "q01": np.quantile(state, 0.01, axis=0),
        "q99": np.quantile(state, 0.99, axis=0),
    }.items():
        np.testing.assert_allclose(stats["observation.state"][name], expected, rtol=1e-9)


def test_small_files_are_many(tmp_path: Path) -> None:
    with LeRobotWriter(tmp_path / "push", INFO, data_mb=1e-6) as writer:
        for number in range(3):
            writer.add(episode(3, number))
    assert len(list((tmp_path / "push/data/chunk-000").glob("*.parquet"))) == 3
    reader = open_dataset(tmp_path / "push")
    same(reader[2], episode(3, 2))
    same(reader[0], episode(3, 0))
    assert next_file(0, 4) == (0, 5) and next_file(0, 999) == (1, 0)


# There and back ------------------------------------------------------------------------------------------------------


def test_there_and_back(written: Path) -> None:
    reader = open_dataset(written)
    assert reader.info == INFO and len(reader) == 3
    for number, found in enumerate(reader):
        same(found, episode(len(found), number))
        assert found.instruction == f"push {number % 2}"
        assert found.obs["policy"].dtype == np.float32


def test_a_control_period_that_is_no_rate(tmp_path: Path) -> None:
    info = DatasetInfo("t", 0.03, {"policy": GroupInfo((3,)), "goal": GroupInfo((1,))}, ("a", "b"))
    with create_dataset(tmp_path / "t", info) as writer:
        writer.add(episode(70, success=None))
    reader = open_dataset(tmp_path / "t")
    assert reader.info.control_dt == 0.03
    assert reader[0].success is None and reader[0].instruction == "push 0"


def test_videos_follow_the_time_stamps(tmp_path: Path) -> None:
    with create_dataset(tmp_path / "look", CAMERA) as writer:
        for number in range(3):
            writer.add(filmed(4, number))
    feature = "videos/observation.images.top"
    assert (tmp_path / "look" / feature / "chunk-000/file-000.mp4").exists()
    rows = parquet.read_table(tmp_path / "look/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row[f"{feature}/from_timestamp"] for row in rows] == pytest.approx([0.0, 0.2, 0.4])
    assert rows[2][f"{feature}/to_timestamp"] == pytest.approx(0.6)
    info = json.loads((tmp_path / "look/meta/info.json").read_text())
    assert info["features"]["observation.images.top"]["shape"] == [32, 48, 3]
    reader = open_dataset(tmp_path / "look")
    for number in (2, 0, 1):
        found = reader[number].obs["top"].astype(int)
        assert found.shape == (4, 32, 48, 3)
        assert np.abs(found - filmed(4, number).obs["top"]).max() <= 3  # H.264 is not lossless


def test_names_of_groups() -> None:
    for group, is_image, feature in (
        ("policy", False, "observation.state"),
        ("critic", False, "observation.critic"),
        ("wrist", True, "observation.images.wrist"),
    ):
        assert feature_of(group, is_image) == feature and group_of(feature) == group


# Others', read by ours -----------------------------------------------------------------------------------------------


def by_hand(root: Path, **changes: Any) -> Path:
    """Two episodes of 2 and 3 frames, as LeRobot lays them out; ``changes`` replace columns of the data file."""
    columns = {
        "observation.state": arrow.array([[float(i), -float(i)] for i in range(5)], arrow.list_(arrow.float32())),
        "action": arrow.array([[float(i)] * 3 for i in range(5)], arrow.list_(arrow.float32())),
        "timestamp": arrow.array([0.0, 0.05, 0.0, 0.05, 0.1], arrow.float32()),
        "frame_index": [0, 1, 0, 1, 2],
        "episode_index": [0, 0, 1, 1, 1],
        "index": [0, 1, 2, 3, 4],
        "task_index": [0, 0, 1, 1, 1],
    }
    columns = {name: value for name, value in (columns | changes).items() if value is not None}
    vector = {"dtype": "float32", "names": {"motors": ["p", "q"]}}
    features: dict[str, Any] = {"observation.state": {**vector, "shape": [2]}, "action": {**vector, "shape": [3]}}
    features |= {name: {"dtype": "int64", "shape": [1], "names": None} for name in columns if name not in features}
    info = {"codebase_version": "v3.0", "robot_type": "so100", "fps": 20, "total_episodes": 2, "total_frames": 5}
    info |= {"data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "features": features}
    for folder in ("data/chunk-000", "meta/episodes/chunk-000"):
        (root / folder).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    parquet.write_table(arrow.table(columns), root / "data/chunk-000/file-000.parquet")
    parquet.write_table(
        arrow.table({"task_index": [0, 1], "__index_level_0__": ["fold", "lift"]}), root / "meta/tasks.parquet"
    )
    write_index(root, [(0, 2), (2, 5)])
    return root


def write_index(root: Path, frames: list[tuple[int, int]], **changes: Any) -> None:
    rows = [
        {"episode_index": i, "length": b - a, "dataset_from_index": a, "dataset_to_index": b}
        | {"data/chunk_index": 0, "data/file_index": 0, **changes}
        for i, (a, b) in enumerate(frames)
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")


def test_a_dataset_of_others(tmp_path: Path) -> None:
    reader = open_dataset(by_hand(tmp_path / "so100"))
    assert (reader.info.task, reader.info.control_dt, reader.info.robot) == ("so100", 0.05, "so100")
    assert reader.info.obs["policy"].names == ("p", "q")
    assert reader.info.action_names == ("action.0", "action.1", "action.2")  # the names given do not fit
    second = reader[1]
    assert second.instruction == "lift" and second.success is None and not second.terminated
    assert second.obs["policy"].tolist() == [[2, -2], [3, -3], [4, -4]]
    assert second.action[:, 0].tolist() == [2, 3, 4] and second.reward.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": None}, r"file-000\.parquet: column 'action' is missing; there: observation.state"),
        ({"index": None}, "column 'index' is missing"),
        ({"action": [[1.0, 2.0]] * 5}, r"file-000\.parquet: episode 0: action has shape \(2, 2\), expected \(2, 3\)"),
        ({"action": [[1.0] * 3] * 4 + [[1.0] * 2]}, "episode 1: column 'action': its vectors differ in length"),
        ({"action": [[1.0] * 3] * 4 + [None]}, "episode 1: column 'action': 1 values are missing"),
        ({"action": [[1.0] * 3] * 3 + [[0.0, np.nan, 0.0]] * 2}, "episode 1: action is not finite at step 1"),
        ({"episode_index": [0, 0, 1, 1, 2]}, "episode 1: episode_index is 2 at step 2, not 1"),
        ({"frame_index": [0, 1, 0, 2, 3]}, "episode 1: frame_index is 2 at step 1, not 1"),
        ({"timestamp": [0.0, 0.05, 0.0, 0.08, 0.1]}, r"episode 1: timestamp at step 1 is not step / fps \(20 fps\)"),
        ({"task_index": [0, 0, 7, 7, 7]}, "episode 1: task_index 7 is not in meta/tasks.parquet"),
    ],
)
def test_damaged_frames(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(open_dataset(by_hand(tmp_path / "d", **changes)))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([(0, 2), (3, 5)], "row 1: frames 3 to 5 of an episode of 2 that should begin at 2"),
        ([(0, 2)], "info.json says total_episodes 2, meta/episodes 1"),
        ([(0, 2), (2, 4)], "info.json says total_frames 5, meta/episodes 4"),
    ],
)
def test_a_damaged_index(tmp_path: Path, frames: list, message: str) -> None:
    write_index(by_hand(tmp_path / "d"), frames)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path / "d")


def test_episodes_are_numbered_from_nought(tmp_path: Path) -> None:
    write_index(by_hand(tmp_path / "d"), [(0, 2), (2, 5)], episode_index=3)
    with pytest.raises(DatasetError, match="row 0: episode_index is 3; episodes are to be 0, 1, 2"):
        open_dataset(tmp_path / "d")


def test_truncated_and_missing_files(written: Path) -> None:
    data = written / "data/chunk-000/file-000.parquet"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"cannot read .*data/chunk-000/file-000\.parquet"):
        list(open_dataset(written))
    data.unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*data/chunk-000/file-000\.parquet"):
        list(open_dataset(written))
    shutil.rmtree(written / "meta/episodes")
    with pytest.raises(DatasetError, match="meta/episodes holds no parquet file"):
        open_dataset(written)


def test_a_file_that_holds_fewer_frames_than_the_index_says(written: Path) -> None:
    data = written / "data/chunk-000/file-000.parquet"
    parquet.write_table(parquet.read_table(data).slice(0, 7), data)
    reader = open_dataset(written)
    same(reader[0], episode(3, 0))
    with pytest.raises(DatasetError, match="episode 2: the file holds 2 of its 4 frames"):
        reader[2]


def test_a_video_that_ends_early(tmp_path: Path) -> None:
    for name, steps in (("long", 6), ("short", 3)):
        with create_dataset(tmp_path / name, CAMERA) as writer:
            writer.add(filmed(steps))
    video = "videos/observation.images.top/chunk-000/file-000.mp4"
    shutil.copy(tmp_path / "short" / video, tmp_path / "long" / video)
    with pytest.raises(DatasetError, match=r"episode 0: .*file-000\.mp4 ends after 3 of its 6 frames"):
        open_dataset(tmp_path / "long")[0]
    (tmp_path / "long" / video).write_bytes(b"no video")
    with pytest.raises(DatasetError, match=r"episode 0: cannot read .*file-000\.mp4"):
        open_dataset(tmp_path / "long")[0]


def test_other_versions_and_no_dataset(tmp_path: Path) -> None:
    root = by_hand(tmp_path / "d")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v2.1"}))
    with pytest.raises(DatasetError, match=r"of version v2\.1; this reads v3\.0"):
        open_dataset(root)
    (root / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0", "fps": 20}))
    with pytest.raises(DatasetError, match=r"info\.json is damaged: KeyError\('features'\)"):
        open_dataset(root)
    (root / "meta/info.json").write_text("{")
    with pytest.raises(DatasetError, match=r"cannot read .*info\.json"):
        open_dataset(root)
    with pytest.raises(DatasetError, match=r"does not exist\. Known: lerobot: a folder with meta/info.json"):
        open_dataset(tmp_path / "none")


# Writing what cannot be written --------------------------------------------------------------------------------------


def test_a_dataset_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"push: episode 1: action is not finite at step 2"):  # noqa: SIM117
        with create_dataset(tmp_path / "push", INFO) as writer:
            writer.add(episode(3))
            writer.add(episode(3, 1, action=np.array([[0, 0], [0, 0], [0, np.inf]], np.float32)))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatasetError, match="needs at least one episode"), create_dataset(tmp_path / "push", INFO):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "push").mkdir()
    with pytest.raises(DatasetError, match="push is there already"):
        create_dataset(tmp_path / "push", INFO)


def test_what_lerobot_has_no_place_for(tmp_path: Path) -> None:
    info = DatasetInfo("t", 0.1, {"grid": GroupInfo((4, 5))}, ("a",))
    with pytest.raises(DatasetError, match=r"group 'grid' is float32 of shape \(4, 5\)"):
        create_dataset(tmp_path / "t", info)
    with pytest.raises(DatasetError, match="success is known of some episodes only"):  # noqa: SIM117
        with create_dataset(tmp_path / "t", INFO) as writer:
            writer.add(episode(2))
            writer.add(episode(2, success=None))
    with pytest.raises(ValueError, match=r"format='zarr'.*valid: lerobot, maniskill, minari, robomimic"):
        create_dataset(tmp_path / "t", INFO, "zarr")
