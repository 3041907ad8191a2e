from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from embodied.datasets import DatasetError, create_dataset, load_episodes, open_dataset
from embodied.datasets.convert import convert

from .examples import CAMERA, INFO, episode, filmed, same

pytest.importorskip("pyarrow")
pytest.importorskip("h5py")
NAMES = {"lerobot": "lerobot", "maniskill": "m.h5", "robomimic": "r.hdf5", "minari": "minari"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with create_dataset(tmp_path / "source.hdf5", INFO, "robomimic") as writer:
        for number in range(2):
            writer.add(episode(4, number))
    return tmp_path / "source.hdf5"


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_every_format_to_every_other(tmp_path: Path, source: Path, first: str, second: str) -> None:
    seen: list[tuple[int, int]] = []
    convert(open_dataset(source), tmp_path / "a" / NAMES[first], first, on_progress=lambda *n: seen.append(n))
    convert(open_dataset(tmp_path / "a" / NAMES[first]), tmp_path / "b" / NAMES[second], second)
    reader = open_dataset(tmp_path / "b" / NAMES[second])
    assert reader.info == INFO and seen == [(1, 2), (2, 2)]
    for number, found in enumerate(reader):
        same(found, episode(4, number))
        assert found.instruction == f"push {number % 2}"


def test_groups_become_one(tmp_path: Path, source: Path) -> None:
    info = convert(open_dataset(source), tmp_path / "out.h5", "maniskill", state=("goal", "policy"))
    assert info.obs["policy"].names == ("goal", "x", "y", "z") and info.obs["policy"].units == ("1", "m", "m", "m")
    found = open_dataset(tmp_path / "out.h5")[1]
    expected = episode(4, 1)
    np.testing.assert_array_equal(found.obs["policy"], np.hstack([expected.obs["goal"], expected.obs["policy"]]))
    assert found.final_obs is not None and found.final_obs["policy"].tolist() == [1.0, 104.0, 104.25, 104.5]
    with pytest.raises(DatasetError, match="no observation group 'gaol'; there: policy, goal"):
        convert(open_dataset(source), tmp_path / "x", state=("gaol",))


def test_damage_leaves_nothing_behind(tmp_path: Path, source: Path) -> None:
    import h5py

    with h5py.File(source, "a") as file:
        file["data/demo_1/actions"][0, 0] = np.inf
    with pytest.raises(DatasetError, match=r"source\.hdf5: episode 1 \(data/demo_1\): action is not finite"):
        convert(open_dataset(source), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source.hdf5"]


def test_images_are_no_state(tmp_path: Path) -> None:
    with create_dataset(tmp_path / "look.hdf5", CAMERA, "robomimic") as writer:
        writer.add(filmed(3))
    with pytest.raises(DatasetError, match=r"group 'top' is no vector but of shape \(32, 48, 3\)"):
        convert(open_dataset(tmp_path / "look.hdf5"), tmp_path / "x", state=("top",))
    convert(open_dataset(tmp_path / "look.hdf5"), tmp_path / "look")
    assert load_episodes(tmp_path / "look").obs["top"].shape == (3, 32, 48, 3)


def test_several_datasets_of_one_task_are_one(tmp_path: Path, source: Path) -> None:
    with create_dataset(tmp_path / "more.hdf5", INFO, "robomimic") as writer:
        writer.add(episode(5, 7))
    one, more = load_episodes(source), load_episodes(tmp_path / "more.hdf5")
    both = load_episodes([source, tmp_path / "more.hdf5"])
    assert both.lengths.tolist() == [*one.lengths.tolist(), 5]
    assert both.action.tolist() == one.action.tolist() + more.action.tolist()
    assert both.obs["policy"][-5:].tolist() == more.obs["policy"].tolist()


def test_datasets_that_do_not_go_together_are_told_apart(tmp_path: Path, source: Path) -> None:
    other = dataclasses.replace(INFO, control_dt=0.2, action_names=("dx", "dz"))
    with create_dataset(tmp_path / "other.hdf5", other, "robomimic") as writer:
        writer.add(episode(5))
    with pytest.raises(DatasetError, match=r"source.* and .*other.* do not go together: control_dt 0\.1 is not"):
        load_episodes([source, tmp_path / "other.hdf5"])
    swapped = dataclasses.replace(
        INFO, obs=INFO.obs | {"policy": dataclasses.replace(INFO.obs["policy"], names=("y", "x", "z"))}
    )
    with create_dataset(tmp_path / "swapped", swapped) as writer:
        writer.add(episode(5))
    convert(open_dataset(source), tmp_path / "named")
    with pytest.raises(DatasetError, match=r"the names of group policy \('x', 'y', 'z'\) is not \('y', 'x', 'z'\)"):
        load_episodes([tmp_path / "named", tmp_path / "swapped"])
    with pytest.raises(DatasetError, match="named twice"):
        load_episodes([source, source])
    with pytest.raises(DatasetError, match="no dataset is named"):
        load_episodes([])
