from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.cli import main

from .reporting.runs import GOOD, write_run


def test_it_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_run(tmp_path / "run", metrics=GOOD)
    assert main(["report", f"run_dir={path}"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"report": str(path / "report.html"), "verdict": "On target", "state": "good", "notes": []}
    assert (path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(path.glob(".report*"))


def test_out_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write_run(tmp_path / "run")
    assert main(["report", f"run_dir={path}", f"out={tmp_path / 'deep' / 'page.html'}"]) == 0
    assert (tmp_path / "deep" / "page.html").is_file()
    capsys.readouterr()
    assert main(["report", "run_dir=/nowhere"]) == 2
    assert main(["report"]) == 2
    assert main(["report", f"run_dirr={path}"]) == 2
    said = capsys.readouterr().err
    assert "no such folder" in said and "run_dir is required" in said and "did you mean 'run_dir'" in said
