from __future__ import annotations

import json
from pathlib import Path

import pytest

from embodied.datasets import create_dataset, open_dataset
from scripts import convert
from scripts.config import UserError
from tests.embodied.datasets.examples import INFO, episode

pytest.importorskip("pyarrow")
pytest.importorskip("h5py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with create_dataset(tmp_path / "source", INFO) as writer:
        writer.add(episode(3))
    return tmp_path / "source"


@pytest.mark.parametrize(
    ("name", "argv", "format_name"),
    [
        ("a.h5", [], "maniskill"),
        ("a.hdf5", [], "robomimic"),
        ("a", [], "lerobot"),
        ("a", ["format=minari"], "minari"),
    ],
)
def test_the_name_suggests_a_format(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str], name: str, argv: list[str], format_name: str
) -> None:
    assert convert.main([f"from={source}", f"to={tmp_path / name}", *argv]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["format"], result["episodes"], result["obs"]) == (format_name, 1, {"policy": [3], "goal": [1]})
    assert len(open_dataset(tmp_path / name)) == 1


def test_groups_are_joined(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main([f"source={source}", f"target={tmp_path / 'b'}", "state=[policy,goal]"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["obs"] == {"policy": [4]}


def test_mistakes(tmp_path: Path, source: Path) -> None:
    for argv, message in (
        ([f"from={source}"], "target is required"),
        ([f"from={source}", f"to={source}"], "is there already"),
        (["from=nowhere", f"to={tmp_path / 'c'}"], "nowhere does not exist"),
        ([f"from={source}", f"to={tmp_path / 'c'}", "format=zarr"], "format='zarr'"),
        ([f"from={source}", f"to={tmp_path / 'c'}", "state=[goals]"], "no observation group 'goals'"),
    ):
        with pytest.raises(UserError, match=message):
            convert.main(argv)
