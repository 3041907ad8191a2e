"""Checkpoints: a directory of safetensors and JSON that is either complete or not there.

``checkpoints/step_<env steps, 12 digits>/`` holds ``model.safetensors`` (``policy.*`` and ``normalizer.*``),
``training.safetensors`` (everything else a resumed run needs; ``training_rank<r>.safetensors`` for further ranks)
and ``checkpoint.json`` (format, counters, task spec, configuration, sha256 of the other files). It is written under a
temporary name, flushed to the disk, and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from . import distributed, transfer
from .normalize import ObsNormalizer
from .tree import CheckpointError, load_tree, read_tensors, save_tree
from .types import Obs, TaskSpec

FORMAT = 1
MODEL, TRAINING, INDEX = "model.safetensors", "training.safetensors", "checkpoint.json"


@dataclass
class Checkpoint:
    """A checkpoint's index and where it lies. model: tensors by name, ``policy.*`` and ``normalizer.*``."""

    path: Path
    env_steps: int
    iteration: int
    world_size: int
    spec: TaskSpec
    config: dict[str, Any]
    model: dict[str, Tensor]

    def training(self) -> Any:
        """This rank's training state; a shipped checkpoint has none."""
        if self.world_size != distributed.world_size():
            raise CheckpointError(
                f"{self.path} was written by {self.world_size} process(es) and cannot be resumed by "
                f"{distributed.world_size()}: start as many"
            )
        path = self.path / _training_name(distributed.rank())
        if not path.exists():
            raise CheckpointError(f"{self.path} holds a model only ({path.name} is missing): it cannot be resumed")
        _verify(self.path, path.name)
        return load_tree(path)


# Writing ------------------------------------------------------------------------------------------------------------


def save(
    run_dir: Path,
    *,
    env_steps: int,
    iteration: int,
    policy: nn.Module,
    normalizer: nn.Module | None,
    training: Any,
    spec: TaskSpec,
    config: Mapping[str, Any],
    keep: int = 0,
) -> Path:
    """Write a checkpoint; every rank calls it, with its own ``training`` state.

    Args:
        keep: remove all but this many newest checkpoints afterwards; 0: keep all.

    Returns:
        The checkpoint's directory.
    """
    final = run_dir / "checkpoints" / f"step_{env_steps:012d}"
    temporary = final.with_name(f".{final.name}.tmp")
    if distributed.is_main():
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    distributed.barrier()
    save_tree(temporary / _training_name(distributed.rank()), training)
    distributed.barrier()
    if distributed.is_main():
        save_file(model_tensors(policy, normalizer), str(temporary / MODEL))
        names = sorted(path.name for path in temporary.iterdir())
        index = {
            "format": FORMAT,
            "env_steps": env_steps,
            "iteration": iteration,
            "world_size": distributed.world_size(),
            "spec": spec.to_dict(),
            "config": dict(config),
            "sha256": {name: sha256(temporary / name) for name in names},
        }
        (temporary / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        _publish(temporary, final)
        if keep:
            prune(run_dir, keep)
    distributed.barrier()
    return final


def model_tensors(policy: nn.Module, normalizer: nn.Module | None) -> dict[str, Tensor]:
    """Copies of the tensors of a model, ``policy.*`` and ``normalizer.*``."""
    named = {f"policy.{name}": x for name, x in policy.state_dict().items()}
    if normalizer is not None:
        named |= {f"normalizer.{name}": x for name, x in normalizer.state_dict().items()}
    return {name: x.detach().cpu().clone(memory_format=torch.contiguous_format) for name, x in named.items()}


def _training_name(rank: int) -> str:
    return TRAINING if rank == 0 else f"training_rank{rank}.safetensors"


def _publish(temporary: Path, final: Path) -> None:
    """Flush a directory to the disk and give it its name."""
    for path in temporary.iterdir():
        _fsync(path)
    _fsync(temporary)
    if final.exists():  # the same step again, after a resume: the old one makes way
        old = final.with_name(f".{final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(final, old)
        os.rename(temporary, final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(temporary, final)
    _fsync(final.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prune(run_dir: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest checkpoints, and what a crash left half-written."""
    for path in complete(run_dir)[:-keep]:
        shutil.rmtree(path)
    for path in (run_dir / "checkpoints").glob(".step_*"):
        shutil.rmtree(path, ignore_errors=True)


# Reading ------------------------------------------------------------------------------------------------------------


def complete(run_dir: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    for old in (run_dir / "checkpoints").glob(".step_*.old"):  # a crash between the two renames of _publish
        final = old.with_name(old.name[1:].removesuffix(".old"))
        if not final.exists():
            os.rename(old, final)
    return sorted(path.parent for path in (run_dir / "checkpoints").glob(f"step_*/{INDEX}"))


def discard_after(run_dir: Path, env_steps: int) -> None:
    """Remove the checkpoints of a run folder beyond a step: a run that goes on from there writes them anew."""
    for path in complete(run_dir):
        if int(path.name.removeprefix("step_")) > env_steps:
            shutil.rmtree(path)


def latest(run_dir: Path) -> Path | None:
    """The newest checkpoint of a run folder, or None."""
    found = complete(run_dir)
    return found[-1] if found else None


def find(path: str | Path) -> Path:
    """The checkpoint directory meant by a run folder, a checkpoint directory, or a file in one.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_file():
        path = path.parent
    if (path / INDEX).exists():
        return path
    found = latest(path)
    if found is None:
        what = "holds no checkpoint" if path.exists() else "does not exist"
        raise CheckpointError(f"{path} {what}; expected a run folder or a directory with {INDEX} and {MODEL}")
    return found


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint (see :func:`find` for what may be given).

    Raises:
        CheckpointError: missing, broken, or of another format; the message says which file.
    """
    path = find(path)
    index = _index(path)
    _verify(path, MODEL)
    model, _ = read_tensors(path / MODEL)
    try:
        spec = TaskSpec.from_dict(index["spec"])
        counters = int(index["env_steps"]), int(index["iteration"]), int(index.get("world_size", 1))
        return Checkpoint(path, *counters, spec, index["config"], model)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path / INDEX} is damaged: {error!r}") from error


def _index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path / INDEX}: {error}") from error
    if index.get("format") != FORMAT:
        raise CheckpointError(f"{path / INDEX} is of format {index.get('format')!r}; this version reads {FORMAT}")
    return index


def _verify(path: Path, name: str) -> None:
    """Compare a file with the digest in the index."""
    expected = _index(path).get("sha256", {}).get(name)
    if not (path / name).exists():
        raise CheckpointError(f"{path / name} is missing")
    if expected is not None and sha256(path / name) != expected:
        raise CheckpointError(f"{path / name} is damaged: its sha256 is not the one in {INDEX}")


def load_model(checkpoint: Checkpoint, policy: nn.Module, normalizer: nn.Module | None = None) -> None:
    """Put a checkpoint's tensors into a policy and a normaliser of the same shapes.

    Raises:
        CheckpointError: tensors missing, left over or of other shapes; the message names them.
    """
    load_prefixed(checkpoint, "policy.", policy)
    if normalizer is not None:
        load_prefixed(checkpoint, "normalizer.", normalizer)


def load_pretrained(
    checkpoint: Checkpoint,
    policy: nn.Module,
    spec: TaskSpec,
    normalizer: ObsNormalizer | None = None,
    obs: Obs | None = None,
) -> None:
    """Start a policy for a task from weights learnt elsewhere, by imitation or on another task, and from their inputs.

    Which of the weights it takes is the policy's business (``load_pretrained(state)``); the normaliser takes all.

    Args:
        spec: the task's, which may see other terms than that of the checkpoint: see :mod:`embodied.transfer`.
        obs: its first observations (B, ...), raw; with a normaliser.

    Raises:
        ValueError: the policy cannot start from others, or these weights do not fit.
        CheckpointError: the normaliser is of another shape, or the checkpoint has none.
    """
    if not hasattr(policy, "load_pretrained"):
        raise ValueError(f"{type(policy).__name__} cannot start from pretrained weights")
    moved = transfer.columns(checkpoint.spec, spec)
    cast(Any, policy).load_pretrained(transfer.weights(_below(checkpoint, "policy."), policy, moved))
    if normalizer is not None:
        given = transfer.moments(_below(checkpoint, "normalizer."), normalizer, moved, obs or {})
        _load(checkpoint, given, normalizer)


def load_prefixed(checkpoint: Checkpoint, prefix: str, module: nn.Module) -> None:
    """Put the tensors with a prefix into a module."""
    _load(checkpoint, _below(checkpoint, prefix), module)


def _below(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): x for name, x in checkpoint.model.items() if name.startswith(prefix)}


def _load(checkpoint: Checkpoint, given: Mapping[str, Tensor], module: nn.Module) -> None:
    wanted = module.state_dict()
    faults = [f"{k} is missing" for k in wanted if k not in given]
    faults += [f"{k} is left over" for k in given if k not in wanted]
    faults += [
        f"{k} has shape {tuple(given[k].shape)}, not {tuple(x.shape)}"
        for k, x in wanted.items()
        if k in given and given[k].shape != x.shape
    ]
    if faults:
        raise CheckpointError(
            f"{checkpoint.path / MODEL} (task {checkpoint.spec.name}) does not fit this {type(module).__name__}: "
            + "; ".join(faults[:6])
        )
    module.load_state_dict(given)
