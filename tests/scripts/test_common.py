from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from embodied import checkpoint as checkpoints
from scripts import common
from scripts.common import pick_device, recent_runs, resolve_checkpoint, run_folder, user_errors
from scripts.config import UserError

from .helpers import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("common") / "runs" / "hopper" / "a")


def test_a_checkpoint_is_a_run_a_folder_or_a_file(run: Path) -> None:
    (step,) = checkpoints.complete(run)
    for given in (run, str(run), step, step / "model.safetensors", step / "checkpoint.json"):
        assert resolve_checkpoint(given) == step
    assert run_folder(step) == run


def test_a_checkpoint_is_the_name_of_a_shipped_one(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = checkpoints.complete(run)
    shutil.copytree(step, tmp_path / "hopper_gru")
    monkeypatch.setattr(common, "SHIPPED", tmp_path)
    assert common.shipped() == ["hopper_gru"]
    assert resolve_checkpoint("hopper_gru") == tmp_path / "hopper_gru"
    assert run_folder(tmp_path / "hopper_gru") is None
    with pytest.raises(UserError, match="did you mean 'hopper_gru'"):
        resolve_checkpoint("hoper_gru")


def test_an_unknown_checkpoint_lists_what_is_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[2])
    assert recent_runs() == [Path("runs/hopper/a")]
    with pytest.raises(UserError, match="runs: runs/hopper/a"):
        resolve_checkpoint("b")


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        resolve_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:x", "cpu:::"])
def test_devices_that_are_none(name: str) -> None:
    with pytest.raises(UserError, match="must be auto, cpu, cuda"):
        pick_device(name)


def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="embodied doctor"):
        pick_device("cuda:0")


@pytest.mark.parametrize("error", [ValueError("bad"), ImportError("bad"), checkpoints.CheckpointError("bad")])
def test_what_goes_wrong_in_building_is_the_users(error: Exception) -> None:
    with pytest.raises(UserError, match=r"^bad$"), user_errors():
        raise error


def test_surprises_in_building_keep_their_name() -> None:
    with pytest.raises(UserError, match="KeyError: 'x'; EMBODIED_TRACEBACK=1"), user_errors():
        raise KeyError("x")


def test_a_name_missing_in_our_own_code_is_not_the_users_mistake() -> None:
    with pytest.raises(ImportError), user_errors():
        from envs import no_such_name  # noqa: F401
