from __future__ import annotations

import json
from pathlib import Path

import pytest

from embodied.statistics import Interval
from scripts.benching.claims import verdicts
from scripts.benching.tables import interval_text, markdown, write

from .made import figures


def test_a_table() -> None:
    assert markdown(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_numbers() -> None:
    assert interval_text(Interval(1234.5, 1000.0, 20000.0)) == "1,234 (1,000 to 20,000)"
    assert interval_text(Interval(0.51234, float("nan"), float("nan"))) == "0.512"
    assert interval_text(Interval(float("nan"), 1.0, 2.0)) == "-"


def test_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    final = [{"deterministic": x, "auc": float("nan")} for x in (0.90, 0.94)]
    found = figures(
        {("push", "ncdpo"): final, ("hopper", "mlp_scratch"): [{"simulate": 5.0, "denoise": 7.0, "update": 30.0}]}
    )
    write(found, verdicts(found, 0.95, 100), tmp_path, 0.95, 100, {"budget": {"steps": 100}})
    push = json.loads((tmp_path / "push" / "results.json").read_text())
    assert push["budget"] == {"steps": 100}
    assert push["methods"]["ncdpo"]["summary"]["deterministic"]["point"] == pytest.approx(0.92)
    assert push["methods"]["ncdpo"]["summary"]["auc"]["point"] is None  # JSON has no nan
    assert [run["seed"] for run in push["methods"]["ncdpo"]["runs"]] == [0, 1]
    assert push["bases"]["b"]["passed"] is True
    table = (tmp_path / "push" / "table.md").read_text()
    assert "| ncdpo | 2 | 2 | 0.0003 | 0.92 (0.9 to 0.94) |" in table
    assert "| b | 0.45 | 0.4 | 0.4 | yes |" in table
    hopper = (tmp_path / "hopper" / "table.md").read_text()
    assert "## From scratch" in hopper and "| mlp_scratch | 1 | 1 | 0.0003 | 1 | 1 | 1 | 50 | 5 | 7 | 30 |" in hopper
    assert (tmp_path / "hopper" / "curves.svg").read_text().count("mlp_scratch") == 1
    claims = json.loads((tmp_path / "claims.json").read_text())["claims"]
    assert [claim["result"] for claim in claims[:4]] == ["not measured"] * 4
    words = (tmp_path / "claims.md").read_text()
    assert "Missing: push/reinflow_k4." in words and "| C3 fine-tuning | NCDPO > DPPO |" in words
