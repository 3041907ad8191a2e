from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts.cli import main
from scripts.export import default_target
from sim2real.manifest import Manifest

from .helpers import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(
        tmp_path_factory.mktemp("export") / "gru", "policy=gru", "policy.memory_size=6", "algo.num_minibatches=2"
    )


def test_export_and_verify(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", f"checkpoint={run}"]) == 0
    written = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert written["bundle"] == str(run / "bundle") and written["parity"]["observations"] == 4096
    assert written["parity"]["max_abs_command"] <= 1e-5
    made = Manifest.read(run / "bundle").provenance
    assert made["trained"] == {
        "task": "hopper", "checkpoint": "step_000000000064", "env_steps": 64, "kind": "mlp", "seed": 0,
    }  # fmt: skip
    assert "torch" in made["exported"]["versions"] and str(run) not in json.dumps(made)

    assert main(["verify", f"bundle={run / 'bundle'}", f"checkpoint={run}"]) == 0
    out = capsys.readouterr().out
    report = json.loads(out.splitlines()[-1])
    assert report["passed"] and {"contract", "parity"} <= {check["name"] for check in report["checks"]}
    assert "the bundle is sound" in out


def test_a_recurrent_policy(recurrent: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", f"checkpoint={recurrent}", "observations=256", f"out={recurrent / 'robot'}"]) == 0
    assert main(["verify", f"bundle={recurrent / 'robot'}", f"checkpoint={recurrent}", "observations=512"]) == 0
    memory = Manifest.read(recurrent / "robot").contract.model.memory
    assert [(m.input, m.shape) for m in memory] == [("h_in", (6,))]
    assert "512 observations" in capsys.readouterr().out


def test_chunks_histories_and_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    policy = [
        "policy=ncdpo",
        "policy.mlp.hidden=[8]",
        "policy.diffusion.train_steps=2",
        "policy.inference_noise=random",
    ]
    decisions = ["task=hopper", "task.chunk=2", "task.history=3", "num_worlds=4", "num_threads=1", "algo.num_steps=8"]
    assert main(["train", *decisions, *policy, "total_steps=64", f"run_dir={run}"]) == 0
    assert main(["export", f"checkpoint={run}", "observations=256", f"out={bundle}"]) == 0
    told = capsys.readouterr().err
    assert (
        "; the last 3 times; noise 2x2x3 of deviation 1" in told
        and "every 8 ms, decided 2 at once, every 16 ms" in told
    )
    contract = Manifest.read(bundle).contract
    assert (contract.decision.history, contract.decision.chunk, contract.decision.execute) == (3, 2, 2)
    assert (contract.task.control_dt, contract.decision.period) == pytest.approx((0.008, 0.016))
    assert main(["verify", f"bundle={bundle}", f"checkpoint={run}", "observations=512"]) == 0
    assert "512 observations" in capsys.readouterr().out


def test_a_bundle_is_not_overwritten_by_accident(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = f"out={tmp_path / 'b'}"
    assert main(["export", f"checkpoint={run}", target, "observations=64"]) == 0
    first = (tmp_path / "b" / "manifest.json").read_text()
    assert main(["export", f"checkpoint={run}", target, "observations=64"]) == 2
    assert "already holds a bundle" in capsys.readouterr().err
    assert (tmp_path / "b" / "manifest.json").read_text() == first
    assert main(["export", f"checkpoint={run}", target, "observations=80", "force=true"]) == 0
    assert Manifest.read(tmp_path / "b").parity.observations == 80


def test_a_spoilt_bundle_has_exit_status_1(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", f"checkpoint={run}", f"out={tmp_path / 'b'}", "observations=64"]) == 0
    data = bytearray((tmp_path / "b" / "policy.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b" / "policy.onnx").write_bytes(data)
    assert main(["verify", f"bundle={tmp_path / 'b'}"]) == 1
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[-1])["passed"] is False
    assert "policy.onnx was changed after the export" in " ".join(out.split()) and "not sound" in out


def test_another_checkpoint_is_noticed(run: Path, recurrent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["export", f"checkpoint={run}", f"out={tmp_path / 'b'}", "observations=64"]) == 0
    assert main(["verify", f"bundle={tmp_path / 'b'}", f"checkpoint={recurrent}", "observations=64"]) == 1
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {c["name"] for c in report["checks"] if not c["passed"]} >= {"contract"}


def test_mistakes_are_explained(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, message in (
        (["export"], "checkpoint is required"),
        (["export", f"checkpoint={run}", "observations=3"], "observations=3: at least 16"),
        (["export", f"checkpoint={run}", "forced=true"], "did you mean 'force'"),
        (["verify", "bundle=/nowhere"], "no such folder"),
        (["verify"], "bundle is required"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["verify", f"bundle={tmp_path / 'empty'}"]) == 1
    assert main(["export", f"checkpoint={run}", f"out={tmp_path / 'empty'}"]) == 2
    assert "exists and is no bundle" in capsys.readouterr().err


def test_a_missing_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else found(name, *a))
    assert main(["export", f"checkpoint={run}"]) == 2
    assert "extra `export` (onnxscript missing)" in capsys.readouterr().err


def test_where_a_bundle_goes(run: Path, tmp_path: Path):
    assert default_target(str(run)) == run / "bundle"
    alone = shutil.copytree(run / "checkpoints" / "step_000000000064", tmp_path / "go7")
    assert default_target(str(alone)) == Path("bundles") / "go7"
