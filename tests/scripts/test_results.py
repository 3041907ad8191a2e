"""Summaries over seeds: means by hand, thinned curves, and a plot that is drawn."""

import json

import pytest
from torch import nn

from embodied import checkpoint as checkpoints
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from scripts import results

SPEC = TaskSpec("toy", 0.02, 10, {"policy": ObsGroup.of(ObsTerm("x", 3))}, ActionSpec(("a",)))


@pytest.fixture
def runs(tmp_path):
    found = []
    for seed, score in ((0, 1.0), (1, 4.0)):
        run = tmp_path / f"seed{seed}"
        checkpoints.save(
            run, env_steps=500, iteration=1, policy=nn.Linear(3, 1), normalizer=None, training={}, spec=SPEC, config={}
        )
        provenance = {"command": ["embodied"], "seed": seed, "commit": {}, "python": "3", "versions": {}}
        (run / "provenance.json").write_text(json.dumps(provenance))
        lines = [{"step": i, "seconds": i / 2, "episode/return": score * i, "loss": 1} for i in range(1, 501)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        metrics = {"return": {"mean": score}, "reward/x": {"mean": 9.0}, "never": {"mean": None}}
        (run / "evaluation.json").write_text(
            json.dumps({"task": "toy", "episodes": 2, "seed": 0, "metrics": metrics, "seconds": 1})
        )
        found.append(run)
    return found


def test_results_hold_means_over_seeds_and_thinned_curves(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    assert results.main(["toy", *map(str, runs)]) == 0
    kept = json.loads((tmp_path / "results" / "toy" / "results.json").read_text())
    assert kept["over_seeds"] == {"return": {"mean": 2.5, "min": 1.0, "max": 4.0, "seeds": 2}}
    curve = kept["runs"][1]["curve"]
    assert len(curve["step"]) == 100 and curve["step"][-1] == 500 and curve["episode/return"][-1] == 2000.0
    assert "<svg" in (tmp_path / "results" / "toy" / "curves.svg").read_text()


def test_a_run_without_evaluation_is_named(runs, capsys):
    (runs[0] / "evaluation.json").unlink()
    assert results.main(["toy", *map(str, runs)]) == 2
    assert "seed0" in capsys.readouterr().err


def test_a_later_seed_joins_the_ones_that_are_there_and_replaces_its_own(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    assert results.main(["toy", str(runs[1])]) == 0 and results.main(["toy", str(runs[0])]) == 0
    path = tmp_path / "results" / "toy" / "results.json"
    assert [run["made_by"]["seed"] for run in json.loads(path.read_text())["runs"]] == [0, 1]
    evaluation = json.loads((runs[1] / "evaluation.json").read_text())
    evaluation["metrics"]["return"]["mean"] = 10.0
    (runs[1] / "evaluation.json").write_text(json.dumps(evaluation))
    assert results.main(["toy", str(runs[1])]) == 0
    assert json.loads(path.read_text())["over_seeds"]["return"] == {"mean": 5.5, "min": 1.0, "max": 10.0, "seeds": 2}
