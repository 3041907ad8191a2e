from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import bench
from scripts.benching.claims import ROBUST, SPARSE
from scripts.benching.jobs import unique
from scripts.cli import main
from scripts.config import UserError, compose
from scripts.pretrain import PretrainConfig
from scripts.train import RunConfig


def test_the_presets_and_what_goes_before_them() -> None:
    full, quick = bench.configure([]), bench.configure(["preset=quick", "seeds=[3]"])
    assert full.steps == 1_000_000 and full.seeds == [0, 1, 2, 3, 4] and full.protocol["tasks"]["hopper"]
    assert quick.steps == 1024 and quick.seeds == [3]
    assert quick.protocol["tasks"]["hopper"]["expert_steps"] == 2048
    assert quick.protocol["tasks"]["hopper"]["threshold"] == full.protocol["tasks"]["hopper"]["threshold"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("what=finetun", "did you mean 'finetune'"),
        ("preset=fast", "valid: full, quick"),
        ("seeds=[0,100]", "must not be among seeds"),
        ("seeds=[]", "must name at least one"),
        ("learning_rates=[1e-3,1e-3]", "none twice"),
        ("steps=0", "must be a number above 0"),
        ("level=1.5", "must lie in"),
        ("tasks=[hoper]", "did you mean 'hopper'"),
        ("methods=[ncdpoo]", "did you mean 'ncdpo'"),
        ("protocol.tasks.hopper.treshold=1", "did you mean 'protocol.tasks.hopper.threshold'"),
    ],
)
def test_mistakes(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bench.make_planner(bench.configure([argument]))


def test_claims_look_for_methods_that_are_there() -> None:
    methods = set(bench.configure([]).protocol["methods"])
    assert {*ROBUST, *SPARSE, "mlp_scratch", "dppo_k5_scratch", "dppo_k20"} <= methods


@pytest.mark.slow
def test_the_protocol_as_it_stands_is_made_of_settings_that_exist(tmp_path: Path) -> None:
    config = bench.configure(["tasks=[hopper,push]", f"work={tmp_path}"])
    planner = bench.make_planner(config)
    rates = dict.fromkeys(((task, m) for task in config.tasks for m in config.methods), 3e-4)
    jobs = [job for task in planner.protocol.tasks.values() for job in planner.bases(task)]
    jobs += [runs[0] for runs in planner.final(rates).values()]
    for job in unique(jobs).values():
        command, *arguments = job.argv()[3:]
        if command in ("train", "pretrain"):
            schema = {"train": RunConfig, "pretrain": PretrainConfig}[command]
            assert compose(schema, command, arguments).task.name == job.name.split("/")[0]


@pytest.mark.slow
def test_from_nothing_to_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("matplotlib")
    argv = ["bench", "finetune", "preset=quick", "seeds=[0]", f"work={tmp_path / 'work'}", f"out={tmp_path / 'out'}"]
    assert main(argv) == 0
    result = json.loads((tmp_path / "out" / "hopper" / "results.json").read_text())
    assert set(result["methods"]) == {"mlp_scratch", "reinflow_k1"} and set(result["bases"]) == {"flow"}
    run = result["methods"]["reinflow_k1"]["runs"][0]
    assert run["steps"][-1] >= 1024 and run["update"] > 0 and run["deterministic"] > 0
    assert "C1 from scratch: not measured" in (tmp_path / "out" / "claims.md").read_text()
    assert "hopper/final/reinflow_k1/seed0" in capsys.readouterr().out
    assert main(argv) == 0  # all of it is there
    assert "jobs, " not in capsys.readouterr().out
