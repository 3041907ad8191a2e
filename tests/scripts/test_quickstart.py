from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import quickstart
from scripts.cli import COMMANDS
from scripts.quickstart import Step, main, plan
from scripts.reporting.data import RunData
from scripts.reporting.sections import film


def test_the_plan_is_made_of_commands_and_the_report_is_last() -> None:
    steps = plan(Path("runs/x"), ["task=hopper", "seed=3"])
    assert [step.argv[0] for step in steps] == ["train", "evaluate", "export", "verify", "play", "report"]
    assert {step.argv[0] for step in steps} <= set(COMMANDS)
    assert steps[0].argv == ["train", "task=hopper", "seed=3", "run_dir=runs/x"]
    assert [step.title for step in steps if step.optional] == ["film"]


def calls(monkeypatch: pytest.MonkeyPatch, run: Path, failing: dict[str, int]) -> list[str]:
    made: list[str] = []

    def pretend(step: Step) -> int:
        made.append(step.title)
        if step.title == "evaluate":
            run.mkdir(parents=True)
            content = {"metrics": {"return": {"mean": 1.25}, "fall": {"mean": 0.5}}}
            (run / "evaluation.json").write_text(json.dumps(content))
        return failing.get(step.title, 0)

    monkeypatch.setattr(quickstart, "run", pretend)
    return made


def test_it_says_where_everything_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    made = calls(monkeypatch, tmp_path / "r", {})
    assert main(["task=hopper", f"run_dir={tmp_path / 'r'}"]) == 0
    assert made == ["train", "evaluate", "export", "verify", "film", "report"]
    shown = capsys.readouterr().out
    assert f"Everything is in {tmp_path / 'r'}:" in shown
    assert "report.html" in shown and "missing" not in shown
    assert "return 1.25, fall 0.5" in shown


def test_a_machine_without_a_renderer_gets_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    made = calls(monkeypatch, tmp_path / "r", {"film": 2})
    assert main([f"run_dir={tmp_path / 'r'}"]) == 0
    assert made[-1] == "report"
    assert "video.mp4        is missing; see above" in capsys.readouterr().out


def test_a_failure_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    made = calls(monkeypatch, tmp_path / "r", {"verify": 1})
    assert main([f"run_dir={tmp_path / 'r'}"]) == 1
    assert made[-1] == "verify"
    assert "verify: failed with exit status 1" in capsys.readouterr().err


def test_a_step_is_shown_before_it_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert quickstart.run(Step("x", ["trian", "a b"], tmp_path)) == 2
    assert "$ embodied trian 'a b'" in capsys.readouterr().out


def test_why_there_is_no_film_is_kept_for_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = Step("film", ["play", "checkpoint=nowhere"], tmp_path / "video.mp4", optional=True)
    assert quickstart.run(step) == 2
    reason = (tmp_path / "video.txt").read_text()
    assert reason.startswith("embodied play: no checkpoint 'nowhere'")
    assert reason in capsys.readouterr().err


def test_the_report_says_why_there_is_no_film(tmp_path: Path) -> None:
    run = RunData(tmp_path)
    assert "No video yet" in film(run, None, None)
    (tmp_path / "video.txt").write_text("no picture can be drawn: <EGL>\n")
    assert film(run, None, None) == (
        '<p class="missing">No video could be made. no picture can be drawn: &lt;EGL&gt;</p>'
    )
