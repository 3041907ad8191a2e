from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from envs import task_names
from scripts.cli import main

from .helpers import tiny_run

listing = importlib.import_module("scripts.list")


def listed(capsys: pytest.CaptureFixture[str], *sections: str) -> list[list[str]]:
    assert main(["list", *sections]) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_every_task_with_a_description(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "tasks")
    assert [name for _, name, _ in rows] == task_names()
    assert all(len(text) > 10 for *_, text in rows)


def test_policies_and_robots(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "policies", "robots")
    assert {("policies", "mlp"), ("policies", "gru"), ("robots", "go1"), ("robots", "go2")} <= {
        (a, b) for a, b, _ in rows
    }
    assert all("\n" not in text and text for *_, text in rows)


def test_runs_and_shipped_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_run(Path("runs/hopper/a"), "seed=7")
    capsys.readouterr()
    assert listed(capsys, "runs") == [["runs", "runs/hopper/a", "hopper, mlp, 6.4e-05M steps, seed 7"]]


def test_a_broken_run_is_listed_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    run = tiny_run(Path("runs/hopper/a"))
    next(run.rglob("checkpoint.json")).write_text("{")
    capsys.readouterr()
    assert listed(capsys, "runs")[0][2].startswith("unreadable: cannot read")


def test_an_unknown_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "taks"]) == 2
    assert "did you mean 'tasks'?" in capsys.readouterr().err


def test_a_terminal_gets_tables(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["list", "tasks", "policies"]) == 0
    shown = capsys.readouterr().out
    assert "\t" not in shown
    assert "hopper" in shown and "gru" in shown
