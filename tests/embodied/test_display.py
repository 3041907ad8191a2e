"""Progress as text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from embodied.display import LineDisplay, LiveDisplay, _table, headline, make_display

RECORD = {
    "step": 1_500_000,
    "iteration": 61,
    "steps_per_second": 12_000.0,
    "episode/reward/lin": 0.5,
    "episode/length": 990.0,
    "episode/return": 21.25,
    "kl": 0.0123456,
}


def test_headline_says_how_far_how_fast_and_how_long() -> None:
    assert headline(RECORD, 6_000_000) == "step 1.5M / 6.0M (25 %)  12.0k steps/s  ETA 6:15"
    assert headline({"step": 0}, 500) == "step 0 / 500 (0 %)  0 steps/s  ETA -"


def test_lines_come_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    display = LineDisplay(interval=1000.0)
    for step in (1_500_000, 1_600_000, 6_000_000):
        display.update(RECORD | {"step": step}, 6_000_000)
    display.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("ETA 6:15  return 21.25  length 990")
    assert lines[1].startswith("step 6.0M / 6.0M (100 %)")


def test_the_panel_shows_episodes_beside_the_learner() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(_table(RECORD))
    lines = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[0] == ["length", "990", "kl", "0.01235"]
    assert [line[0] for line in lines] == ["length", "return", "reward/lin"]


def test_a_live_display_takes_records_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    display = LiveDisplay("go2_velocity")
    display.update(RECORD, 6_000_000)
    display.close()
    assert "go2_velocity" in capsys.readouterr().out


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(make_display("x"), LineDisplay)
