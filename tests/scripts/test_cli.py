from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import cli
from scripts.config import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("argv", [[], ["--help"], ["help"], ["-h"]])
def test_overview_names_every_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)


def test_every_command_is_a_module() -> None:
    assert all((ROOT / "scripts" / f"{name}.py").exists() for name in cli.COMMANDS)


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_a_command_nothing_like_any_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["xyzzy"]) == 2
    message = capsys.readouterr().err
    assert "did you mean" not in message
    assert "train, steer, evaluate" in message


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("embodied-rl-suite")


class _Failing:
    """A command's module."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def main(self, argv: list[str]) -> int:
        raise self.error


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    def fail_with(error: BaseException) -> None:
        monkeypatch.setattr(cli.importlib, "import_module", lambda *_: _Failing(error))

    return fail_with


def test_a_users_mistake_is_one_line_and_status_2(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(UserError("seed=abc: must be a whole number"))
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "embodied train: seed=abc: must be a whole number\n"


def test_a_users_mistake_is_told_by_one_process(failing, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(UserError("no"))
    monkeypatch.setenv("RANK", "1")
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == ""


def test_the_trace_can_be_asked_for(failing, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(UserError("no"))
    monkeypatch.setenv(cli.TRACEBACK, "1")
    with pytest.raises(UserError):
        cli.main(["train"])


def test_a_mistake_of_ours_keeps_its_trace(failing) -> None:
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["train"])


def test_interrupted(failing) -> None:
    failing(KeyboardInterrupt())
    assert cli.main(["train"]) == 130


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m scripts.cli list | head -n 1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("tasks\t")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["play", "go2_velocity", "seed=1"], ["checkpoint=go2_velocity", "seed=1"]),
        (["train", "hopper"], ["task=hopper"]),
        (["verify", "some/bundle"], ["bundle=some/bundle"]),
        (["train", "-m", "seed=0,1"], ["-m", "seed=0,1"]),
        (["train", "~recipe"], ["~recipe"]),
        (["play", "checkpoint=x"], ["checkpoint=x"]),
        (["doctor", "x"], ["x"]),
        (["train"], []),
    ],
)
def test_a_first_word_needs_no_name(argv: list[str], expected: list[str]) -> None:
    assert cli.named(argv[0], argv[1:]) == expected


def test_a_file_that_cannot_be_written_is_one_line(failing, capsys: pytest.CaptureFixture[str]) -> None:
    failing(PermissionError(13, "Permission denied", "/x.json"))
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "embodied train: [Errno 13] Permission denied: '/x.json'\n"
