from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints
from envs.mujoco.vec_env import MujocoVecEnv
from scripts.cli import main
from scripts.train import RESUMABLE, configure

from .helpers import TINY, tiny_run


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(["train", *argv]) == 2
    return capsys.readouterr().err


def records(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    timing = ("seconds", "steps_per_second", "collect_seconds", "decide_seconds", "update_seconds")
    return [{k: v for k, v in json.loads(line).items() if k not in timing} for line in lines]


def test_a_run_leaves_what_it_should(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "run", "seed=3")
    assert f"embodied evaluate checkpoint={run}" in capsys.readouterr().out
    stored = OmegaConf.load(run / "config.yaml")
    assert (stored.seed, stored.task.name, stored.policy.hidden) == (3, "hopper", [8])
    assert "run_dir" not in stored and "resume" not in stored
    made = json.loads((run / "provenance.json").read_text())
    assert made["seed"] == 3
    assert checkpoints.load(run).config == OmegaConf.to_container(stored)
    assert len(records(run)) == 2  # 64 steps are two iterations of 4 worlds x 8 steps


def test_the_run_folder_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # also twice within a second
        assert main(["train", *TINY, "total_steps=32", "seed=5"]) == 0
    runs = sorted(path.name for path in (tmp_path / "runs" / "hopper").iterdir())
    assert len(runs) == 2
    assert all("-seed5" in name for name in runs)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = tiny_run(tmp_path / "whole", "total_steps=128")
    parts = tiny_run(tmp_path / "parts")
    assert main(["train", f"resume={parts}", "total_steps=128"]) == 0
    assert records(whole) == records(parts)
    a, b = checkpoints.load(whole).model, checkpoints.load(parts).model
    assert all((a[name] == b[name]).all() for name in a)
    assert len(json.loads((parts / "provenance.json").read_text())["resumed"]) == 1


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    whole, killed = tiny_run(tmp_path / "whole"), tiny_run(tmp_path / "killed")
    for path in (killed / "checkpoints").rglob("*.*"):
        path.unlink()
    assert main(["train", f"resume={killed}"]) == 0
    assert records(whole) == records(killed)


def test_a_run_of_another_version_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("the environment's state is of another version")

    run = tiny_run(tmp_path / "run")
    monkeypatch.setattr(MujocoVecEnv, "load_state_dict", refuse)
    message = error(capsys, f"resume={run}", "total_steps=128")
    assert "step_000000000064: the environment's state is of another version" in message


def test_what_may_not_change_on_resuming(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "run")
    assert "a resumed run keeps its settings" in error(capsys, f"resume={run}", "seed=1")
    assert "did you mean 'total_steps'?" in error(capsys, f"resume={run}", "total_stps=100")
    assert "the run is complete: 64 steps of 64" in error(capsys, f"resume={run}")
    assert "must be a" in error(capsys, f"resume={run}", "total_steps=many")
    config = configure([f"resume={run}", "total_steps=100"])
    assert {key for key in config if config[key] != configure([f"resume={run}"])[key]} == {"total_steps"}
    assert "total_steps" in RESUMABLE


def test_resuming_names_the_newest_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "run", "checkpoint_interval=32")
    old, new = checkpoints.complete(run)
    assert f"resume={run}" in error(capsys, f"resume={old}", "total_steps=128")
    assert configure([f"resume={new}"]).run_dir == str(run)


def test_a_folder_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "run")
    assert f"embodied train resume={run}" in error(capsys, *TINY, f"run_dir={run}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    assert "not an empty folder" in error(capsys, *TINY, f"run_dir={tmp_path / 'other'}")
    assert "not a run folder" in error(capsys, f"resume={tmp_path / 'other'}")


def test_a_sweep_gives_each_run_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *TINY, "total_steps=32", "seed=0,1", f"run_dir={tmp_path / 'sweep'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["seed-0", "seed-1"]
    assert OmegaConf.load(tmp_path / "sweep" / "seed-1" / "config.yaml").seed == 1


def test_a_sweep_with_a_mistake_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error(capsys, "-m", *TINY, "algo.gamma=0.9,2", f"run_dir={tmp_path / 'sweep'}")
    assert "algo.gamma=2.0: must lie in [0, 1]" in message
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("device=gpu", "must be auto, cpu, cuda or cuda:<number>"),
        ("num_worlds=0", "must be at least 1"),
        ("engine=fast", "batch"),
        ("policy.activation=elo", "did you mean 'elu'?"),
        ("policy.hidden=[a]", "cannot be built from this configuration (TypeError"),
        ("+task.modell=x", "did you mean 'model'?"),
    ],
)
def test_complaints_about_what_is_built(tmp_path: Path, argument: str, part: str, capsys) -> None:
    assert part in error(capsys, *TINY, argument, f"run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_policy_with_memory_cannot_learn_from_mirror_images(tmp_path: Path, capsys) -> None:
    message = error(capsys, "task=go2_velocity", "policy=gru", "num_worlds=2", f"run_dir={tmp_path / 'run'}")
    assert "algo.symmetry=mix needs a policy without memory; use algo.symmetry=none" in message
    assert not (tmp_path / "run").exists()
