from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from embodied import checkpoint as checkpoints
from embodied.datasets import DatasetInfo, Episode, Episodes, GroupInfo, create_dataset
from embodied.types import ActionSpec, ObsGroup, TaskSpec
from scripts import evaluate, export, pretrain
from scripts.agents import load_agent
from scripts.config import UserError

pytest.importorskip("pyarrow")
SMALL = ("task=hopper", "policy=mlp", "policy.hidden=[16]", "num_threads=1")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hopper whose every action is half of its first observation, for 6 episodes of 40 frames."""
    path = tmp_path_factory.mktemp("data") / "hopper"
    rng = np.random.default_rng(0)
    info = DatasetInfo("hopper", 0.008, {"policy": GroupInfo((11,))}, ("a", "b", "c"))
    with create_dataset(path, info) as writer:
        for _ in range(6):
            x = rng.normal(size=(40, 11)).astype(np.float32)
            writer.add(Episode({"policy": x}, 0.5 * x[:, [0, 0, 0]], np.ones(40, np.float32), success=True))
    return path


def run(run_dir: Path, dataset: Path, *argv: str) -> Path:
    assert (
        pretrain.main([*SMALL, f"dataset={dataset}", "steps=60", "log_interval=20", f"run_dir={run_dir}", *argv]) == 0
    )
    return run_dir


def test_several_datasets_are_learnt_from_as_one(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(dataset, tmp_path / "more")
    argv = [*SMALL, f"dataset=[{dataset},{tmp_path / 'more'}]", "steps=4", f"run_dir={tmp_path / 'run'}"]
    assert pretrain.main(argv) == 0
    assert "12 episodes of hopper, 480 frames at 125 Hz" in capsys.readouterr().out
    assert list(OmegaConf.load(tmp_path / "run" / "config.yaml").dataset) == [str(dataset), str(tmp_path / "more")]


def test_what_a_pretraining_says_and_leaves(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run(tmp_path / "run", dataset, "seed=3")
    out = capsys.readouterr().out
    assert "6 episodes of hopper, 240 frames at 125 Hz, 100 % successful" in out
    assert "return 40 (std 0), length 40 (40 to 40)" in out
    assert "after 20 steps: loss " in out and "held out " in out and "ready in about 0:0" in out
    assert f"embodied train task=hopper init={made}" in out
    last = json.loads(out.splitlines()[-1])
    assert last["step"] == 60 and last["run_dir"] == str(made) and "validation_loss" in last
    stored = OmegaConf.load(made / "config.yaml")
    assert (stored.seed, stored.dataset) == (3, str(dataset)) and "run_dir" not in stored and "resume" not in stored
    assert (made / "metrics.jsonl").exists()
    assert json.loads((made / "provenance.json").read_text())["seed"] == 3
    found = checkpoints.load(made)
    assert found.config["policy"]["hidden"] == [16] and found.config["task"]["name"] == "hopper"
    assert found.env_steps == 60


def test_other_commands_take_the_checkpoint(tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = run(tmp_path / "run", dataset, "normalization=mean_std")
    agent = load_agent(made)
    assert agent.normalizer is not None
    seen = agent.normalizer({"policy": torch.randn(2000, 11)})["policy"]
    torch.testing.assert_close(seen.mean(0), torch.zeros(11), atol=0.25, rtol=0)  # the data are standard normal
    assert evaluate.main([f"checkpoint={made}", "episodes=2", "num_threads=1"]) == 0
    pytest.importorskip("onnxruntime")
    assert export.main([f"checkpoint={made}", f"out={tmp_path / 'bundle'}", "observations=64"]) == 0
    assert (tmp_path / "bundle" / "policy.onnx").exists()


def test_learning_goes_the_right_way(tmp_path: Path, dataset: Path) -> None:
    made = run(tmp_path / "run", dataset, "steps=600", "ema_decay=0.9", "normalization=none")
    records = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < 0.1 * records[0]["loss"]
    agent = load_agent(made)
    obs = {"policy": torch.eye(11)[:1].repeat(2, 1) * torch.tensor([[1.0], [-1.0]])}
    action = agent.policy.act(obs, deterministic=True).action
    torch.testing.assert_close(action[:, 0, 0], torch.tensor([0.5, -0.5]), atol=0.15, rtol=0)


def test_mistakes(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    cases: list[tuple[list[str], str]] = [
        (["task=walker2d"], r"demonstrations of 'hopper' do not fit task 'walker2d': .*11 elements, the task's 17"),
        (["dataset=nowhere"], "nowhere does not exist. Known: lerobot"),
        (["dataset=null"], "dataset=None: must be a folder or a file, or several"),
        ([f"run_dir={tmp_path / 'full'}"], "is there and not an empty folder"),
        ([f"resume={tmp_path / 'full'}"], "not a run folder"),
        (["padding=zero"], "padding='zero'"),
        (["stepz=3"], "did you mean 'steps'?"),
    ]
    for argv, message in cases:
        keys = {argument.partition("=")[0] for argument in argv}
        base = [*SMALL, f"dataset={dataset}", "steps=2", f"run_dir={tmp_path / 'run'}"]
        with pytest.raises(UserError, match=message):
            pretrain.main([*(a for a in base if a.partition("=")[0] not in keys), *argv])
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, dataset: Path) -> None:
    """Normalised actions, too: their constants are the run's own."""
    flow = ("task=hopper", "policy=reinflow", "policy.mlp.hidden=[16]", "actions=minmax", f"dataset={dataset}")
    often = ("steps=60", "log_interval=20", "checkpoint_interval=20", "keep_checkpoints=0", "num_threads=1")
    whole, part = tmp_path / "whole", tmp_path / "part"
    for made in (whole, part):
        assert pretrain.main([*flow, *often, f"run_dir={made}"]) == 0
    for path in sorted((part / "checkpoints").iterdir())[1:]:
        shutil.rmtree(path)
    with (part / "metrics.jsonl").open("a") as log:
        log.write('{"step": 55, "lo')  # torn by a kill
    assert pretrain.main([f"resume={part}"]) == 0
    a, b = (checkpoints.load(run) for run in (whole, part))
    assert a.config == b.config and a.config["policy"]["action_scaling"]
    assert all(torch.equal(a.model[name], b.model[name]) for name in a.model)
    logs = ([json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()] for made in (whole, part))
    steps = [[(record["step"], record["loss"]) for record in log] for log in logs]
    assert steps[0] == steps[1]
    assert len(json.loads((part / "provenance.json").read_text())["resumed"]) == 1


def test_what_may_not_change_on_resuming(tmp_path: Path, dataset: Path) -> None:
    made = run(tmp_path / "run", dataset)
    with pytest.raises(UserError, match="the run is complete: 60 steps of 60"):
        pretrain.main([f"resume={made}"])
    with pytest.raises(UserError, match="a resumed run keeps its settings"):
        pretrain.main([f"resume={made}", "steps=100"])
    with pytest.raises(UserError, match=f"holds a run already. Continue it: embodied pretrain resume={made}"):
        pretrain.main([*SMALL, f"dataset={dataset}", f"run_dir={made}"])


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path, dataset: Path) -> None:
    whole, killed = run(tmp_path / "whole", dataset), run(tmp_path / "killed", dataset)
    shutil.rmtree(killed / "checkpoints")
    assert pretrain.main([f"resume={killed}"]) == 0
    a, b = (checkpoints.load(made).model for made in (whole, killed))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_policy_with_a_memory_refuses(tmp_path: Path, dataset: Path) -> None:
    argv = ["task=hopper", "policy=gru", f"dataset={dataset}", f"run_dir={tmp_path / 'run'}", "num_threads=1"]
    with pytest.raises(UserError, match="gru cannot learn by imitation"):
        pretrain.main(argv)


def test_the_early_report() -> None:
    record: dict[str, Any] = {"step": 100, "steps_per_second": 50.0, "loss": 0.1234, "validation_loss": 0.5}
    assert pretrain.early_report(record, 6600) == (
        "after 100 steps: loss 0.123, held out 0.5; 50 steps/s, ready in about 2:10"
    )


def test_actions_without_limits_are_normalised() -> None:
    info = DatasetInfo("t", 0.1, {"policy": GroupInfo((1,))}, ("a", "b"))
    action = np.array([[0.0, 2.0], [4.0, 8.0]], np.float32)
    data = Episodes(info, [Episode({"policy": np.zeros((2, 1), np.float32)}, action, np.zeros(2, np.float32))])
    free = TaskSpec("t", 0.1, 5, {"policy": ObsGroup(shape=(1,))}, ActionSpec(("a", "b")))
    assert pretrain.action_scaling(free, data, "auto") == {"centre": [2.0, 5.0], "width": [2.0, 3.0]}
    bounded = dataclasses.replace(free, action=ActionSpec(("a", "b"), low=-1.0, high=1.0))
    assert pretrain.action_scaling(bounded, data, "auto") is None
    assert pretrain.action_scaling(bounded, data, "minmax") is not None
