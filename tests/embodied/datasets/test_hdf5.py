"""Ours is read with h5py and json alone; what is read by ours is laid out by hand as the formats publish it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied.datasets import DatasetError, DatasetInfo, GroupInfo, create_dataset, open_dataset

from .examples import CAMERA, INFO, episode, filmed, same

h5py = pytest.importorskip("h5py")
FORMATS = {"maniskill": "push.h5", "robomimic": "push.hdf5", "minari": "push"}


def write(tmp_path: Path, format_name: str, info: DatasetInfo = INFO) -> Path:
    path = tmp_path / FORMATS[format_name]
    with create_dataset(path, info, format_name) as writer:
        for number in range(3):
            writer.add(filmed(4, number) if info is CAMERA else episode(3 + number, number))
    return path


# There and back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", FORMATS)
def test_there_and_back(tmp_path: Path, format_name: str) -> None:
    reader = open_dataset(write(tmp_path, format_name))
    assert reader.info == INFO and len(reader) == 3
    for number, found in enumerate(reader):
        same(found, episode(3 + number, number), final=True)
        assert found.instruction == f"push {number % 2}"


@pytest.mark.parametrize("format_name", FORMATS)
def test_images_are_kept_exactly(tmp_path: Path, format_name: str) -> None:
    reader = open_dataset(write(tmp_path, format_name, CAMERA))
    same(reader[2], filmed(4, 2))


@pytest.mark.parametrize("format_name", FORMATS)
def test_nothing_stays_of_a_failure(tmp_path: Path, format_name: str) -> None:
    path = tmp_path / FORMATS[format_name]
    with pytest.raises(DatasetError, match="episode 0: reward is not finite"):  # noqa: SIM117
        with create_dataset(path, INFO, format_name) as writer:
            writer.add(episode(2, reward=np.array([0, np.nan])))
    assert list(tmp_path.iterdir()) == []
    write(tmp_path, format_name)
    with pytest.raises(DatasetError, match="is there already"):
        create_dataset(path, INFO, format_name)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_truncated_file(tmp_path: Path, format_name: str) -> None:
    path = write(tmp_path, format_name)
    file = path / "data/main_data.hdf5" if path.is_dir() else path
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=f"cannot read .*{file.name}"):
        list(open_dataset(path))


@pytest.mark.parametrize(
    ("format_name", "name"), [("maniskill", "push.hdf5"), ("robomimic", "push"), ("minari", "p.h5")]
)
def test_names_fit_the_format(tmp_path: Path, format_name: str, name: str) -> None:
    with pytest.raises(DatasetError, match="a dataset of this format is called"):
        create_dataset(tmp_path / name, INFO, format_name)


# What is written ------------------------------------------------------------------------------------------------------


def test_what_is_written_for_maniskill(tmp_path: Path) -> None:
    path = write(tmp_path, "maniskill")
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["env_info"]["env_id"] == "push"
    assert [(row["episode_id"], row["elapsed_steps"]) for row in about["episodes"]] == [(0, 3), (1, 4), (2, 5)]
    with h5py.File(path) as file:
        group = file["traj_1"]
        assert group["actions"].shape == (4, 2) and group["actions"].dtype == np.float32
        assert group["obs/policy"].shape == (5, 3)  # one more than actions
        assert group["obs/policy"][4].tolist() == [104.0, 104.25, 104.5]
        assert group["terminated"][()].tolist() == [False] * 4
        assert group["truncated"][()].tolist() == [False, False, False, True]
        assert group["success"][()].tolist() == [False] * 4
        assert file["traj_0/terminated"][-1] and file["traj_0/success"][-1]


def test_what_is_written_for_robomimic(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path, "robomimic")) as file:
        assert file["data"].attrs["total"] == 12
        assert json.loads(file["data"].attrs["env_args"])["env_kwargs"] == {"control_freq": 10.0}
        demo = file["data/demo_2"]
        assert demo.attrs["num_samples"] == 5 and demo["states"].shape[0] == 5
        assert demo["dones"][()].tolist() == [0, 0, 0, 0, 1]
        assert demo["obs/policy"].shape == demo["next_obs/policy"].shape == (5, 3)
        np.testing.assert_array_equal(demo["obs/policy"][1:], demo["next_obs/policy"][:-1])
        assert demo["next_obs/policy"][-1, 0] == 205.0


def test_what_is_written_for_minari(tmp_path: Path) -> None:
    path = write(tmp_path, "minari")
    metadata = json.loads((path / "data/metadata.json").read_text())
    assert (metadata["total_episodes"], metadata["total_steps"], metadata["data_format"]) == (3, 12, "hdf5")
    space = json.loads(metadata["observation_space"])
    assert space["type"] == "Dict" and space["subspaces"]["policy"]["shape"] == [3]
    action = json.loads(metadata["action_space"])
    assert action["type"] == "Box" and action["shape"] == [2] and action["dtype"] == "float32"
    with h5py.File(path / "data/main_data.hdf5") as file:
        group = file["episode_1"]
        assert group.attrs["id"] == 1 and group.attrs["total_steps"] == 4
        assert group["observations/policy"].shape == (5, 3) and group["actions"].shape == (4, 2)
        assert group["truncations"][()].tolist() == [False, False, False, True]


def test_a_group_alone_is_an_array(tmp_path: Path) -> None:
    info = DatasetInfo(
        "t", 0.1, {"policy": GroupInfo((3,))}, ("a", "b"), extra={"spec": {"action": {"low": -1, "high": 1}}}
    )
    with create_dataset(tmp_path / "t", info, "minari") as writer:
        writer.add(episode(2, obs={"policy": np.zeros((2, 3), np.float32)}, final_obs=None))
    with h5py.File(tmp_path / "t/data/main_data.hdf5") as file:
        assert file["episode_0/observations"].shape == (3, 3)
    metadata = json.loads((tmp_path / "t/data/metadata.json").read_text())
    assert json.loads(metadata["observation_space"])["type"] == "Box"
    assert json.loads(metadata["action_space"])["high"] == [1, 1]
    assert open_dataset(tmp_path / "t").info.obs["policy"].shape == (3,)


# Others', by hand -----------------------------------------------------------------------------------------------------


def maniskill(root: Path, change: Callable[[Any, dict], None] = lambda file, about: None) -> Path:
    """Trajectories 4 and 7 of 2 and 3 steps with a tree of observations."""
    rows = [{"episode_id": i, "elapsed_steps": n, "reset_kwargs": {}, "info": {}} for i, n in ((4, 2), (7, 3))]
    about = {"env_info": {"env_id": "PickCube-v1", "max_episode_steps": 50, "env_kwargs": {}}, "episodes": rows}
    with h5py.File(root / "trajectory.h5", "w") as file:
        for row in rows:
            n, i = int(row["elapsed_steps"]), int(row["episode_id"])  # type: ignore[call-overload]
            group = file.create_group(f"traj_{i}")
            group["actions"] = np.full((n, 4), i, np.float32)
            group["obs/agent/qpos"] = np.arange(2.0 * (n + 1)).reshape(n + 1, 2)
            group["obs/extra/grasped"] = np.arange(n + 1) == n
            group["env_states/actors/cube"] = np.zeros((n + 1, 13))
            group["terminated"], group["truncated"] = np.arange(n) == n - 1, np.zeros(n, bool)
            group["success"] = np.arange(n) == n - 1
        change(file, about)
    (root / "trajectory.json").write_text(json.dumps(about))
    return root / "trajectory.h5"


def test_a_trajectory_file_of_maniskill(tmp_path: Path) -> None:
    reader = open_dataset(maniskill(tmp_path))
    assert (reader.info.task, reader.info.control_dt, reader.info.action_size) == ("PickCube-v1", 0.05, 4)
    assert {name: group.shape for name, group in reader.info.obs.items()} == {"agent.qpos": (2,), "extra.grasped": (1,)}
    second = reader[1]
    assert second.action[:, 0].tolist() == [7, 7, 7] and second.success and second.terminated
    assert second.obs["agent.qpos"].dtype == np.float32 and second.obs["agent.qpos"][:, 0].tolist() == [0, 2, 4]
    assert second.final_obs is not None and second.final_obs["agent.qpos"].tolist() == [6, 7]
    assert second.obs["extra.grasped"].tolist() == [[False]] * 3 and second.final_obs["extra.grasped"].all()
    assert second.reward.tolist() == [0, 0, 0]


def short_obs(file: Any, about: dict) -> None:
    del file["traj_7/obs/agent/qpos"]
    file["traj_7/obs/agent/qpos"] = np.zeros((3, 2))


def no_obs(file: Any, about: dict) -> None:
    del file["traj_4/obs"]


def no_actions(file: Any, about: dict) -> None:
    del file["traj_7/actions"]


def other_actions(file: Any, about: dict) -> None:
    del file["traj_7/actions"]
    file["traj_7/actions"] = np.zeros((3, 5))


def no_trajectory(file: Any, about: dict) -> None:
    del file["traj_7"]


def other_length(file: Any, about: dict) -> None:
    about["episodes"][1]["elapsed_steps"] = 9


def not_finite(file: Any, about: dict) -> None:
    file["traj_7/actions"][2, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (short_obs, r"episode 1 \(traj_7\): obs 'agent\.qpos' has 3 rows for 3 actions; one more"),
        (no_obs, r"episode 0 \(traj_4\): has no observations; replay it"),
        (no_actions, r"episode 1 \(traj_7\): .*'?actions'?"),
        (other_actions, r"episode 1 \(traj_7\): action has shape \(3, 5\), expected \(3, 4\)"),
        (no_trajectory, r"traj_7 is missing, which trajectory\.json lists"),
        (other_length, r"episode 1 \(traj_7\): 3 actions, trajectory\.json says 9"),
        (not_finite, r"trajectory\.h5: episode 1 \(traj_7\): action is not finite at step 2"),
    ],
)
def test_damaged_trajectories(tmp_path: Path, change: Callable, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        list(open_dataset(maniskill(tmp_path, change)))


def robomimic(path: Path, numbers: tuple[int, ...] = (0, 2, 10), **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_type": 1, "env_kwargs": {"control_freq": 20}})
        for number in numbers:
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = 3
            demo["actions"] = np.full((3, 7), number / 10)
            demo["rewards"], demo["dones"] = np.array([0.0, 0.0, 1.0]), np.array([0, 0, 1])
            demo["obs/object"], demo["obs/robot0_eef_pos"] = np.full((3, 10), number), np.zeros((3, 3))
            demo["obs/agentview_image"] = np.zeros((3, 8, 8, 3), np.uint8)
            demo["states"] = np.zeros((3, 32))
        data.attrs.update(attributes)
    return path


def test_a_file_of_robomimic(tmp_path: Path) -> None:
    reader = open_dataset(robomimic(tmp_path / "low_dim.hdf5"))
    assert (reader.info.task, reader.info.control_dt) == ("Lift", 0.05)
    assert [float(found.obs["object"][0, 0]) for found in reader] == [0, 2, 10]  # by number, not by letter
    assert reader.info.obs["agentview_image"].is_image
    assert reader[0].terminated and reader[0].success is None and reader[0].final_obs is None
    assert reader[2].reward.tolist() == [0, 0, 1]


def test_damaged_demonstrations(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "d.hdf5")
    with h5py.File(path, "a") as file:
        file["data/demo_2"].attrs["num_samples"] = 4
    with pytest.raises(DatasetError, match=r"episode 1 \(data/demo_2\): 3 actions, num_samples says 4"):
        list(open_dataset(path))
    with pytest.raises(DatasetError, match="attribute env_args is damaged"):
        open_dataset(robomimic(path, env_args="{"))
    with pytest.raises(DatasetError, match="holds no episodes"):
        open_dataset(robomimic(path, numbers=()))
    with pytest.raises(DatasetError, match="does not say its control period: give control_dt"):
        open_dataset(robomimic(path, env_args="{}"))
    assert open_dataset(path, control_dt=0.1).info.control_dt == 0.1
    with h5py.File(path, "w") as file:
        file["episodes"] = 3
    with pytest.raises(DatasetError, match="group 'data' is missing; there: episodes"):
        open_dataset(path)


def minari(root: Path, total: int = 2, column: bool = False, **metadata: Any) -> Path:
    """Two episodes of an environment with an array of observations; flags as (T,) or, as older ones are, (T, 1)."""
    (root / "data").mkdir(parents=True)
    about = {"dataset_id": "hopper/expert-v0", "total_episodes": total, "total_steps": 5, "data_format": "hdf5"}
    (root / "data/metadata.json").write_text(json.dumps(about | metadata))
    with h5py.File(root / "data/main_data.hdf5", "w") as file:
        for i, n in enumerate((2, 3)):
            group = file.create_group(f"episode_{i}")
            group.attrs.update({"id": i, "total_steps": n, "seed": 1})
            group["observations"] = np.arange((n + 1) * 2.0).reshape(n + 1, 2)
            group["actions"] = np.full((n, 1), 0.5, np.float32)
            for name in ("rewards", "terminations", "truncations"):
                flag = np.arange(n) == (n - 1 if name == "terminations" else -1)
                group[name] = flag[:, None] if column else flag
    return root


@pytest.mark.parametrize("column", [False, True])
def test_a_dataset_of_minari(tmp_path: Path, column: bool) -> None:
    root = minari(tmp_path / "expert-v0", column=column)
    reader = open_dataset(root, control_dt=0.008)
    assert (reader.info.task, reader.info.control_dt, len(reader)) == ("hopper/expert-v0", 0.008, 2)
    assert reader[1].obs["policy"].tolist() == [[0, 1], [2, 3], [4, 5]] and reader[1].terminated
    assert reader[1].final_obs is not None and reader[1].final_obs["policy"].tolist() == [6, 7]
    assert len(open_dataset(root / "data", control_dt=0.008)) == 2
    with pytest.raises(DatasetError, match="give control_dt"):
        open_dataset(root)


def test_damaged_minari(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"episode_2 is missing; metadata\.json says total_episodes 3"):
        open_dataset(minari(tmp_path / "a", total=3), control_dt=1.0)
    with pytest.raises(DatasetError, match=r"2 episodes; metadata\.json says total_episodes 1"):
        open_dataset(minari(tmp_path / "b", total=1), control_dt=1.0)
    with pytest.raises(DatasetError, match="data_format is 'arrow'"):
        open_dataset(minari(tmp_path / "c", data_format="arrow"), control_dt=1.0)
    root = minari(tmp_path / "d")
    with h5py.File(root / "data/main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
        file["episode_1/actions/arm"] = np.zeros((3, 1))
    with pytest.raises(DatasetError, match=r"episode 1 \(episode_1\): actions are a tree \(arm\)"):
        list(open_dataset(root, control_dt=1.0))
    (root / "data/metadata.json").unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*metadata\.json"):
        open_dataset(root, control_dt=1.0)
