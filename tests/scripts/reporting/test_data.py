from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.config import UserError
from scripts.reporting.data import read_run

from .runs import GOOD, write_checkpoint, write_run, write_video


def test_everything_is_found(tmp_path: Path, mlp_bundle: Path):
    path = write_run(tmp_path / "run", metrics=GOOD)
    write_checkpoint(path)
    write_video(path / "video.mp4")
    shutil.copytree(mlp_bundle, path / "bundle")
    (path / "evaluation_hard.json").write_text('{"metrics": {"fall": {"mean": 0.25}, "odd": {"mean": null}}}')
    run = read_run(path)
    assert run.name == "strider" and run.env_steps == 60_000 and run.seconds == pytest.approx(6.0)
    assert run.spec is not None and run.spec.action.names == ("hip", "knee")
    assert list(run.evaluations) == ["evaluation", "evaluation_hard"]
    assert list(run.metrics("evaluation_hard")) == ["fall"]
    assert run.video == path / "video.mp4" and run.notes == []
    assert run.bundle is not None and run.bundle.passed is True and run.bundle.latency_us["p50"] > 0
    steps, values = run.series("episode/return")
    assert steps[0] == 2000 and len(values) == 59  # the first record had no episode


def test_broken_files_are_noted(tmp_path: Path):
    path = write_run(tmp_path / "run")
    (path / "evaluation.json").write_text("{")
    (path / "provenance.json").write_text("[1]")
    (path / "bundle").mkdir()
    run = read_run(path)
    assert len(run.notes) == 3 and run.evaluations == {} and run.provenance == {} and run.bundle is None
    assert any("evaluation.json could not be read" in note for note in run.notes)
    assert any("is no bundle" in note for note in run.notes)


def test_figures_that_are_not_finite_are_left_out(tmp_path: Path):
    path = write_run(tmp_path / "run")
    (path / "metrics.jsonl").write_text('{"step": 1, "kl": null}\n{"step": 2, "kl": 0.5}\n{"step": 3, "kl": "x"}\n{"st')
    assert read_run(path).series("kl") == ([2.0], [0.5])


def test_what_is_no_run(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match="this is no run folder"):
        read_run(tmp_path)
