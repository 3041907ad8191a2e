from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from envs import load_task_config
from scripts.agents import load_agent
from scripts.cli import main
from scripts.common import make_env
from scripts.evaluate import configure

from .helpers import tiny_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("evaluate") / "run")


def evaluated(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    capsys.readouterr()
    assert main(["evaluate", *argv]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_last_line_is_the_result(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluated(capsys, f"checkpoint={run}", "episodes=5", "seed=3")
    assert (result["task"], result["episodes"], result["seed"]) == ("hopper", 5, 3)
    figure = result["metrics"]["return"]
    assert figure["n"] == 5
    assert figure["low"] < figure["mean"] < figure["high"]
    stored = json.loads((run / "evaluation.json").read_text())
    assert {k: v for k, v in stored.items() if k != "provenance"} == result
    assert stored["provenance"]["command"][:2] == ["embodied", "evaluate"]


def test_the_same_seed_gives_the_same_episodes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, other = (
        evaluated(capsys, f"checkpoint={run}", "episodes=4", f"seed={seed}")["metrics"] for seed in (1, 1, 2)
    )
    assert first == second != other


def test_a_changed_task_is_measured_and_kept_apart(run: Path, tmp_path: Path, capsys) -> None:
    result = evaluated(
        capsys, f"checkpoint={run}", "episodes=2", "task.horizon=3" if _has_horizon() else "+task.horizon=3"
    )
    assert result["metrics"]["length"]["mean"] <= 3
    assert len(result["changes"]) == 1
    assert (run / "evaluation_changed.json").exists()
    out = tmp_path / "deep" / "result.json"
    evaluated(capsys, f"checkpoint={run}", "episodes=2", f"out={out}")
    assert out.exists()


def _has_horizon() -> bool:
    from envs import load_task_config

    return "horizon" in load_task_config("hopper")


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "checkpoint is required"),
        (["checkpoint=nowhere"], "neither a folder nor a shipped checkpoint"),
        (
            ["checkpoint={run}", "task=walker2d"],
            "does not fit walker2d: observation group 'policy' has shape (17,), not (11,)",
        ),
        (["checkpoint={run}", "episodes=0"], "episodes=0: must be at least 1"),
        (["checkpoint={run}", "episods=3"], "did you mean 'episodes'?"),
        (["checkpoint={run}", "task.frame_skp=3"], "did you mean 'task.frame_skip'?"),
    ],
)
def test_complaints(run: Path, argv: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *(argument.format(run=run) for argument in argv)]) == 2
    assert part in capsys.readouterr().err


def test_a_broken_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "run")
    (model,) = run.rglob("model.safetensors")
    model.write_bytes(model.read_bytes()[:-4])
    assert main(["evaluate", f"checkpoint={run}"]) == 2
    assert "model.safetensors is damaged" in capsys.readouterr().err


def test_a_policy_is_measured_on_a_task_that_tells_the_critic_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    trained = load_agent("go2_velocity").spec.obs["critic"].shape
    env = make_env(load_task_config("go2_velocity_hard"), num_worlds=1, device=torch.device("cpu"), num_threads=1)
    assert env.spec.obs["critic"].shape != trained, "this test wants a task with another critic"
    env.close()
    argv = ["checkpoint=go2_velocity", "task=go2_velocity_hard", "task.episode_length_s=1", "episodes=2"]
    result = evaluated(capsys, *argv)
    assert result["task"] == "go2_velocity_hard"
    assert result["metrics"]["fall"]["mean"] == 0


def test_another_task_is_decided_on_as_the_policy_was_trained(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", "task.chunk=3", "task.history=2")
    own, other, told = (
        configure([f"checkpoint={run}", *argv])[1]
        for argv in ((), ("task=half_cheetah",), ("task=half_cheetah", "task.chunk=1"))
    )
    assert (own["name"], own["chunk"], own["history"]) == ("hopper", 3, 2)
    assert (other["name"], other["chunk"], other["history"]) == ("half_cheetah", 3, 2)
    assert (told["chunk"], told["history"]) == (1, 2)
    assert "image_size" not in other  # it has no camera
    twin = configure(["checkpoint=put_on_plate_vla", "task=maniskill_put_on_plate"])[1]
    assert (twin["chunk"], twin["image_size"]) == (4, 64)
