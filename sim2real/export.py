"""Export: a policy, its normaliser and its task become a bundle that a robot can run and anyone can check.

A bundle is a folder of three files: ``policy.onnx``, ``golden.npz`` and ``manifest.json`` (see :mod:`.manifest`).
It is written under a temporary name, verified there, and renamed: a bundle either is complete or is not there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.types import Policy, TaskSpec

from . import manifest as m
from .contract import Contract
from .deployed import MODEL_FILE, OPSET, DeployedPolicy
from .inference import CONTRACT_KEY, FORMAT_KEY, OnnxPolicy
from .recording import Recording
from .rollout import Normalizer
from .schema import SchemaError
from .ties import lead, ties
from .verify import verify_bundle

GOLDEN_FILE = "golden.npz"
GOLDEN_COUNT = 64
TOLERANCE = 1e-5  # of a command, in its unit, or in policy units where these are smaller
LOOSEST = 1e-3  # the largest tolerance that a policy's own rounding may ask for
CLEAR = 1e-3  # nats by which every token of a golden decision leads the next best, so that no machine rounds it away
CANDIDATES = 512


class ExportError(RuntimeError):
    """A policy that cannot be exported, or whose export did not verify."""


def export_policy(
    policy: Policy,
    normalizer: Normalizer,
    spec: TaskSpec,
    out: str | Path,
    recording: Recording,
    *,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> m.Manifest:
    """Write a verified bundle to the folder ``out``.

    Args:
        policy, normalizer: as the learner uses them; ``policy.act(normalizer(obs), memory, deterministic=True)`` is the
            truth that the export is held to. They are not changed.
        recording: observations of real rollouts (see :func:`.rollout.record`), raw, 4096 of them for a full parity
            check. Some become the bundle's golden vectors, with the noise that was drawn for them.
        provenance: JSON values about where the policy comes from.
        force: replace a bundle that is already there.
    Raises:
        FileExistsError: ``out`` exists. ExportError: the export does not do what the policy does.
    """
    out = Path(out).resolve()
    check_target(out, force)
    deployed = DeployedPolicy(policy, normalizer, spec)
    recording = deployed.inputs(recording)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        tolerance = find_tolerance(deployed, recording)
        (folder / MODEL_FILE).write_bytes(to_onnx(deployed))
        golden = _write_golden(folder, deployed, recording, tolerance)
        network = _loaded(folder, deployed.contract)
        parity = measure_parity(deployed, network, recording, tolerance)
        manifest = _write_manifest(folder, deployed.contract, golden, parity, dict(provenance or {}))
        failed = verify_bundle(folder, deployed, recording).failures
        if failed:
            raise ExportError("the export does not verify: " + "; ".join(f"{c.name}: {c.detail}" for c in failed))
        _publish(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest


def check_target(out: Path, force: bool) -> None:
    """Raise FileExistsError unless a bundle may be written to ``out``; worth asking before a long rollout."""
    if not out.exists():
        return
    if not (out / m.FILE).is_file():
        raise FileExistsError(f"{out} exists and is no bundle; choose another folder")
    if not force:
        raise FileExistsError(f"{out} already holds a bundle; choose another folder, or force=true to replace it")


def to_onnx(deployed: DeployedPolicy) -> bytes:
    """One self-contained ONNX file with a free batch axis; the same weights give the same bytes."""
    model = deployed.contract.model
    example = tuple(
        torch.zeros(2, *tensor.shape[1:], dtype=getattr(torch, tensor.dtype))  # type: ignore[arg-type]
        for tensor in model.inputs
    )
    batch = torch.export.Dim("batch", min=1)
    others = tuple({0: batch} for _ in example[1:])
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                deployed,
                example,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in model.inputs],
                output_names=[tensor.name for tensor in model.outputs],
                dynamic_shapes=({0: batch}, others) if others else ({0: batch},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(f"the policy cannot be traced into a graph: {cause}") from error
    assert program is not None
    return _finish(program.model_proto, deployed.contract).SerializeToString(deterministic=True)


def _loaded(folder: Path, contract: Contract) -> OnnxPolicy:
    """The network as it was written, if it takes and gives what the contract says, for any number of rows."""
    network = OnnxPolicy(folder / MODEL_FILE, contract)
    try:
        network.check_signature()
    except SchemaError as error:
        raise ExportError(f"the policy was traced into another graph: {error}") from error
    return network


def find_tolerance(deployed: DeployedPolicy, recording: Recording) -> float:
    """By how much torch and onnxruntime may differ: 1e-5, or twice the policy's own rounding where that is more, for
    then torch differs from itself by as much, from one batch size to the next.

    Raises:
        ExportError: it rounds so badly that no comparison would mean anything.
    """
    if deployed.contract.model.noise is None:
        return TOLERANCE
    tolerance = max(TOLERANCE, 2 * deployed.rounding(recording))
    if tolerance > LOOSEST:
        raise ExportError(f"float32 is not enough for this policy: its actions are off by {tolerance / 2:.1g} in it")
    return tolerance


def measure_parity(
    deployed: DeployedPolicy, network: OnnxPolicy, recording: Recording, tolerance: float = TOLERANCE
) -> m.Parity:
    """The largest differences between torch and onnxruntime along a recording, ties aside."""
    expected = deployed.replay(recording)
    found = network.replay(recording)
    tied = ties(deployed, recording, expected[1], found[1], tolerance)
    command, action = (float(np.abs(a - b)[~tied].max()) for a, b in zip(expected, found, strict=True))
    return m.Parity(recording.count, command, action, tolerance, int(tied.sum()))


def _write_golden(folder: Path, deployed: DeployedPolicy, recording: Recording, tolerance: float) -> m.Golden:
    """64 decisions: sequences of 16 for a policy with memory."""
    golden = _clear(deployed, recording) if deployed.tokens else _sequences(recording)
    command, action = deployed.replay(golden)
    arrays: dict[str, Any] = {"obs": golden.obs, "start": golden.start, "command": command, "action": action}
    np.savez_compressed(folder / GOLDEN_FILE, **arrays | golden.optional())
    steps, rows = golden.start.shape
    return m.Golden(GOLDEN_FILE, steps, rows, tolerance)


def _sequences(recording: Recording) -> Recording:
    steps = min(16, len(recording.obs))
    return recording.first(steps).spread(max(1, GOLDEN_COUNT // steps))


def _clear(deployed: DeployedPolicy, recording: Recording) -> Recording:
    """Decisions of tokens that rounding does not turn."""
    candidates = recording.flat().spread(CANDIDATES)
    clear = np.flatnonzero(lead(deployed, candidates) > CLEAR)
    if not len(clear):
        raise ExportError("in every decision two tokens are equally likely: this token head was never trained")
    return candidates.take(clear).spread(GOLDEN_COUNT)


def _write_manifest(
    folder: Path, contract: Contract, golden: m.Golden, parity: m.Parity, provenance: dict[str, Any]
) -> m.Manifest:
    files = {name: m.file_info(folder / name) for name in (MODEL_FILE, GOLDEN_FILE)}
    manifest = m.Manifest(
        m.FORMAT, m.FORMAT_VERSION, contract, m.CONVENTIONS, golden, parity, provenance, files, sha256=""
    )
    manifest.sealed().write(folder)
    return m.Manifest.read(folder)


def _finish(proto: Any, contract: Contract) -> Any:
    """Take out what the exporter notes about the source code, put in the version and the contract's hash."""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.value_info[:], proto.graph.metadata_props[:], proto.metadata_props[:]
    proto.graph.name, proto.graph.doc_string, proto.doc_string = contract.task.name, "", ""
    for key, value in ((FORMAT_KEY, str(m.FORMAT_VERSION)), (CONTRACT_KEY, contract.sha256())):
        proto.metadata_props.add(key=key, value=value)
    return proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings about optional packages; no argument checks of distributions, which cannot be traced."""
    log, distribution = logging.getLogger("torch.onnx"), torch.distributions.Distribution
    level, validate = log.level, distribution._validate_args
    log.setLevel(logging.ERROR)
    distribution.set_default_validate_args(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        distribution.set_default_validate_args(validate)
        log.setLevel(level)


def _publish(folder: Path, out: Path) -> None:
    """Rename the finished folder into place, durably; an old bundle goes last."""
    folder.chmod(0o755)
    for path in (*folder.iterdir(), folder):
        _sync(path)
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        out.rename(old / "old")
        folder.rename(out)
        shutil.rmtree(old)
    else:
        folder.rename(out)
    _sync(out.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
