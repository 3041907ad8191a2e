"""A checkpoint is complete or not there; anything wrong with one is said with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from embodied import checkpoint
from embodied.checkpoint import CheckpointError
from embodied.normalize import ObsNormalizer
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import PointMass

SPEC = PointMass(1).spec


def policy_of(width: int = 4) -> MLPPolicy:
    return MLPPolicy(SPEC, MLPConfig(hidden=(width,)))


def write(run_dir: Path, steps: int, policy: nn.Module | None = None, keep: int = 0) -> Path:
    counters = {"env_steps": steps, "iteration": steps // 10}
    return checkpoint.save(
        run_dir,
        **counters,
        policy=policy or policy_of(),
        normalizer=ObsNormalizer.of(SPEC),
        training={"counter": steps, "state": torch.arange(3)},
        spec=SPEC,
        config={"task": "point", "seed": 3},
        keep=keep,
    )


def test_a_checkpoint_holds_model_training_state_and_index(tmp_path: Path) -> None:
    policy = policy_of()
    path = write(tmp_path, 120, policy)
    assert path == tmp_path / "checkpoints" / "step_000000000120"
    names = {"model.safetensors", "training.safetensors", "checkpoint.json"}
    assert {p.name for p in path.iterdir()} == names
    found = checkpoint.load(tmp_path)
    assert (found.env_steps, found.iteration, found.config["seed"]) == (120, 12, 3)
    assert found.spec == SPEC
    assert {name.split(".")[0] for name in found.model} == {"policy", "normalizer"}
    assert found.training()["counter"] == 120
    other, normalizer = policy_of(), ObsNormalizer.of(SPEC)
    checkpoint.load_model(found, other, normalizer)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), other.parameters(), strict=True))


def test_find_takes_a_run_a_checkpoint_or_a_file(tmp_path: Path) -> None:
    first, second = write(tmp_path, 10), write(tmp_path, 20)
    assert checkpoint.find(tmp_path) == second
    assert checkpoint.find(str(first)) == first
    assert checkpoint.find(first / "model.safetensors") == first


def test_missing_checkpoints_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no checkpoint; expected a run folder"):
        checkpoint.load(tmp_path)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for steps in (10, 20, 30):
        write(tmp_path, steps, keep=2)
    assert [p.name[-2:] for p in checkpoint.complete(tmp_path)] == ["20", "30"]
    checkpoint.discard_after(tmp_path, 20)
    assert [p.name[-2:] for p in checkpoint.complete(tmp_path)] == ["20"]


def test_a_crash_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write(tmp_path, 10)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    for name in ("save_file", "_publish"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(checkpoint, name, fail)
            write(tmp_path, 20)
        assert checkpoint.latest(tmp_path) == before
    assert write(tmp_path, 20, keep=1) == checkpoint.latest(tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_000000000020"]


def test_a_crash_between_the_renames_of_a_rewritten_step_is_healed(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    path.rename(path.with_name(f".{path.name}.old"))
    assert checkpoint.latest(tmp_path) == path
    assert write(tmp_path, 10) == path
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, 10)
    content = bytearray((path / name).read_bytes())
    content[-1] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: its sha256"):
        checkpoint.load(path).training()


def edit(path: Path, **changes: Any) -> None:
    index = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps(index | changes))


def test_other_formats_and_damaged_indices_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    edit(path, format=99)
    with pytest.raises(CheckpointError, match=r"checkpoint.json is of format 99; this version reads 1"):
        checkpoint.load(path)
    edit(path, format=1, spec={"name": "x"})
    with pytest.raises(CheckpointError, match=r"checkpoint.json is damaged: KeyError"):
        checkpoint.load(path)
    (path / "checkpoint.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot read .*checkpoint.json"):
        checkpoint.load(path)
    edit_missing = write(tmp_path, 20)
    (edit_missing / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors is missing"):
        checkpoint.load(edit_missing)


def test_a_model_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, 10, policy_of(width=4))
    with pytest.raises(CheckpointError, match=r"does not fit this MLPPolicy: .*has shape \(4, 2\), not \(8, 2\)"):
        checkpoint.load_model(checkpoint.load(tmp_path), policy_of(width=8))
    with pytest.raises(CheckpointError, match=r"weight is missing.*is left over"):
        checkpoint.load_prefixed(checkpoint.load(tmp_path), "normalizer.", nn.Linear(1, 1))


def test_a_shipped_model_cannot_be_resumed_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    (path / "training.safetensors").unlink()
    found = checkpoint.load(path)
    with pytest.raises(CheckpointError, match="holds a model only"):
        found.training()


def test_another_number_of_processes_cannot_resume(tmp_path: Path) -> None:
    edit(write(tmp_path, 10), world_size=2)
    with pytest.raises(CheckpointError, match=r"written by 2 process\(es\) and cannot be resumed by 1"):
        checkpoint.load(tmp_path).training()
