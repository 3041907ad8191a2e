"""From checkpoints to the page, and on again after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embodied import checkpoint
from embodied.metrics import read_jsonl
from scripts.agents import load_agent
from scripts.benching import vla_sft
from scripts.cli import main

from .vla_made import untrained_run


@pytest.mark.slow
@pytest.mark.render
def test_policies_on_a_row_are_resumed_row_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = untrained_run(tmp_path / "mine")
    argv = ["bench", "vla", f"policies={{one: {run}, two: {run}}}", "rows=[in_distribution]", "episodes=2", "gallery=1"]
    argv += [f"work={tmp_path / 'work'}", f"out={tmp_path / 'out'}", "resamples=20", "name=try"]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "2 jobs, 0 of them done before" in printed and "rows/one/in_distribution" in printed
    found = json.loads((tmp_path / "out" / "try.json").read_text())
    assert found["policies"]["one"]["rows"]["in_distribution"] == found["policies"]["two"]["rows"]["in_distribution"]
    assert found["comparisons"][0]["p_holm"] == 1.0 and found["failed"] == []
    assert [shot["filmed"] == shot["outcome"] for shot in found["gallery"]] == [True, True]
    assert found["policies"]["one"]["source"].endswith("step_000000000000")
    (done,) = (tmp_path / "work" / "rows" / "two").rglob("done.json")
    done.unlink()
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "2 jobs, 1 of them done before" in printed and "films" not in printed
    assert json.loads(printed.splitlines()[-1])["failed"] == 0


@pytest.mark.slow
def test_fine_tuning_goes_on_from_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    run, data = untrained_run(tmp_path / "mine"), tmp_path / "data"
    recorded = [
        "task=put_on_plate",
        "task.image_size=0",
        "expert=scripted",
        "episodes=2",
        f"out={data}",
        "num_threads=1",
    ]
    assert main(["demos", *recorded]) == 0
    settings = {"init": str(run), "dataset": str(data), "steps": 2, "seed": 1}
    assert vla_sft.main([json.dumps(settings), str(tmp_path / "tuned")]) == 0
    before, after = (checkpoint.load(path).model for path in (run, tmp_path / "tuned"))
    moved = [(after[name] - x).abs().max().item() for name, x in before.items() if x.is_floating_point()]
    assert 0 < max(moved) < 0.01  # two steps of 1e-3 at most, averaged
    agent = load_agent(tmp_path / "tuned")
    assert agent.config["policy"]["kind"] == "compact_vla" and agent.normalizer is not None
    assert vla_sft.main([json.dumps(settings | {"steps": 3}), str(tmp_path / "tuned")]) == 0
    steps = [record["step"] for record in read_jsonl(tmp_path / "tuned" / "metrics.jsonl")]
    assert steps == [2, 3]  # it went on


@pytest.mark.slow
def test_methods_are_compared_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    argv = ["bench", "vla", "preset=quick", "compare=[sft,dpo]", "rows=[in_distribution]", "episodes=2", "gallery=0"]
    assert main([*argv, f"work={tmp_path / 'work'}", f"out={tmp_path / 'out'}"]) == 0
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert {"warmup", "sft-s0", "dpo-s0"} <= set(found["policies"]) and found["failed"] == []
    samples = found["methods"]["samples"]
    assert samples["dpo"]["env_steps"] == [1920] and samples["sft"]["env_steps"][0] > 100
    assert samples["dpo"]["rows"]["in_distribution"]["n"] == 1
    assert ("sft-s0", "dpo-s0") in [(entry["first"], entry["second"]) for entry in found["comparisons"]]
    assert "train/dpo/seed0" in capsys.readouterr().out
