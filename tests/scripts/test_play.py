from __future__ import annotations

import json
from pathlib import Path

import pytest

from envs.graphics import NoGraphicsError, choose_gl
from scripts import play
from scripts.cli import main

from ..helpers.video import read_video
from .helpers import tiny_run


@pytest.fixture(scope="module")
def hopper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("play") / "run")


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent policy of a task with commands."""
    run = tmp_path_factory.mktemp("play") / "go2"
    small = ["num_worlds=4", "algo.num_steps=4", "algo.num_minibatches=2", "total_steps=16", "num_threads=1"]
    gru = ["policy=gru", "policy.memory_size=8", "policy.hidden=[8]", "algo.symmetry=none"]
    assert main(["train", "task=go2_velocity", *small, *gru, f"run_dir={run}"]) == 0
    return run


def _last(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_without_a_viewer_it_only_runs(hopper: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["play", f"checkpoint={hopper}", "viewer=none", "seconds=1"]) == 0
    said = _last(capsys)
    assert said["task"] == "hopper" and said["seconds"] == 1.0 and said["reward"] > 0


def test_a_recurrent_policy_with_a_command(walker: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["play", f"checkpoint={walker}", "viewer=none", "seconds=0.5", "command=[0.5,0,0]"]) == 0
    said = _last(capsys)
    assert 0.2 < said["error_lin_vel_x"] < 1.5 and said["error_ang_vel_z"] < 1.5


@pytest.mark.render
def test_a_video(walker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    try:
        choose_gl()
    except NoGraphicsError as error:
        pytest.skip(str(error))
    path = tmp_path / "out.mp4"
    arguments = [f"video={path}", "seconds=0.4", "width=160", "height=96", "fps=10"]
    assert main(["play", f"checkpoint={walker}", *arguments]) == 0
    said = _last(capsys)
    frames, fps = read_video(path)
    assert (len(frames), fps, frames[0].shape) == (4, 10, (96, 160, 3)) and said["video"] == str(path)


def test_no_graphics_is_explained(hopper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def fail() -> str:
        raise NoGraphicsError("install libegl1")

    monkeypatch.setattr(play, "choose_gl", fail)
    assert main(["play", f"checkpoint={hopper}", "video=out.mp4"]) == 2
    assert "no video: install libegl1" in capsys.readouterr().err


def test_the_task_may_be_changed(walker: Path):
    config, task = play.configure([f"checkpoint={walker}", "task.push.speed=[0.0,0.0]"])
    assert (
        task["push"]["speed"] == [0.0, 0.0]
        and task["initial"]["yaw"] == 0.0
        and task["episode_length_s"] == 3600
        and config.viewer == "auto"
    )
    _, task = play.configure([f"checkpoint={walker}", "task.initial.yaw=1.5", "task.episode_length_s=5.0"])
    assert task["initial"]["yaw"] == 1.5 and task["episode_length_s"] == 5
    _, task = play.configure([f"checkpoint={walker}", "task=go2_velocity_hard"])
    assert task["name"] == "go2_velocity_hard"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("viewer=vr", "viewer=vr: choose one of auto, web, native, none"),
        ("width=101", "a video needs even numbers"),
        ("seconds=0", "must be above 0"),
        ("command=[1]", "hopper takes no command"),
        ("task=go2_velocity", "was trained on hopper and sees 11 values"),
        ("vidoe=x.mp4", "did you mean 'video'"),
    ],
)
def test_mistakes_are_explained(argument: str, message: str, hopper: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["play", f"checkpoint={hopper}", "viewer=none", argument]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_is_needed(capsys: pytest.CaptureFixture[str]):
    assert main(["play"]) == 2
    assert "checkpoint is required" in capsys.readouterr().err
    assert main(["play", "checkpoint=nowhere"]) == 2
    assert "no checkpoint 'nowhere'" in capsys.readouterr().err


def test_viewers_get_port_and_command(walker: Path, monkeypatch: pytest.MonkeyPatch):
    from scripts import viewers

    asked: list[tuple] = []
    monkeypatch.setattr(viewers, "watch_in_browser", lambda player, port, command: asked.append((port, command)))
    monkeypatch.setattr(viewers, "watch_in_window", lambda player, command: asked.append(("window", command)))
    assert main(["play", f"checkpoint={walker}", "port=9001", "command=[0.1,0,0]"]) == 0
    assert main(["play", f"checkpoint={walker}", "viewer=native"]) == 0
    assert asked == [(9001, [0.1, 0.0, 0.0]), ("window", None)]


def test_another_task_is_decided_on_as_the_policy_was_trained(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", "task.chunk=3")
    assert play.configure([f"checkpoint={run}", "task=half_cheetah"])[1]["chunk"] == 3
