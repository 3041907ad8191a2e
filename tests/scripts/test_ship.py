"""Shipping a run: the model is copied, the index loses what is local, and the result loads."""

import json

import pytest
import torch
from torch import nn

from embodied import checkpoint as checkpoints
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from scripts.ship import main, ship

SPEC = TaskSpec("toy", 0.02, 10, {"policy": ObsGroup.of(ObsTerm("x", 3))}, ActionSpec(("a",)))


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "run"
    model = nn.Linear(3, 1)
    checkpoints.save(
        run, env_steps=64, iteration=1, policy=model, normalizer=None, training={"x": 1}, spec=SPEC, config={"seed": 3}
    )
    command = ["embodied", "train", "task=toy", "seed=3", f"run_dir={run}", "num_threads=2"]
    provenance = {"command": command, "seed": 3, "commit": {"hash": "abc"}, "python": "3.11", "versions": {}}
    (run / "provenance.json").write_text(json.dumps({**provenance, "machine": {"cpu": "x"}}))
    return run, model


def test_a_shipped_checkpoint_loads_and_says_what_made_it(run, tmp_path):
    folder, model = run
    target = ship(folder, "toy", tmp_path / "shelf")
    assert sorted(path.name for path in target.iterdir()) == ["checkpoint.json", "model.safetensors"]
    found = checkpoints.load(target)
    assert torch.equal(found.model["policy.weight"], model.weight) and found.env_steps == 64
    index = json.loads((target / "checkpoint.json").read_text())
    assert index["made_by"]["command"] == "embodied train task=toy seed=3"
    assert str(tmp_path) not in json.dumps(index)
    with pytest.raises(checkpoints.CheckpointError, match="model only"):
        found.training()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(checkpoints.CheckpointError, match="does not exist"):
        ship(tmp_path / "nothing", "x", tmp_path)


def test_usage(capsys):
    assert main([]) == 2 and "scripts.ship" in capsys.readouterr().out


def test_a_shipped_command_names_its_task() -> None:
    from scripts.ship import with_task

    assert with_task("embodied train init=RUN seed=0", "push") == "embodied train task=push init=RUN seed=0"
    for command in ("embodied train task=push seed=0", "embodied train init=RUN task=reach"):
        assert with_task(command, "push") == command
