"""The manifest: all that a robot has to know of a policy, in one JSON file with full precision.

Needs the standard library alone, as :mod:`.contract`, the part of it that says what the network means.

Four things tie a bundle together: the sha256 of every file, the manifest's own sha256, the sha256 of its contract
inside the ONNX file, and golden vectors. They find accidents and careless edits; they are no signature.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import schema
from .contract import Contract, check_sizes, require
from .schema import SchemaError

FORMAT = "embodied-bundle"
FORMAT_VERSION = 3
READABLE = (2, 3)
"""3 added the image and the instruction; a bundle without them means what it meant in 2. 1 knew one action a decision,
no history and no noise. Such a bundle is refused: its checkpoint exports again."""
FILE = "manifest.json"

CONVENTIONS = {
    "observation": "obs[start:start + size] = scale * raw, raw in the term's unit and frame; no noise is added",
    "history": "model input obs: the observations of the last control steps, oldest first, one for each control_dt, "
    "also while a chunk is executed; at the start of an episode every one of them is the first observation",
    "image": "model input image: the camera's picture at the decision, (h, w, 3) bytes as `image` says, not scaled",
    "instruction": "model input words: the text lower-cased if `lower`, every match of `pattern` a word; a word at "
    "place i of `words` is buckets + 1 + i, another 1 + CRC-32 of its UTF-8 modulo buckets; zeros fill up to max_words",
    "normaliser": "inside the model: give it obs as above, not standardised",
    "command": "clip(offset + scale * clip(action, low, high), command_low, command_high), in the action's unit",
    "action": "clip(policy output, low, high): what the next observation's previous-action term holds",
    "chunk": "outputs [batch, i] belong to the i-th control step from the decision on; after `execute` of them the "
    "next decision is made, the rest of the chunk is dropped; a new episode begins with a decision",
    "noise": "the model draws nothing: its input noise is scale * N(0, 1), drawn anew for each decision; scale 0, so "
    "zeros, where the policy's own deterministic decisions start from zeros",
    "previous action": "the action of the control step before; zeros at the start of an episode",
    "memory": "zeros at the start of an episode; then each decision's output is the next decision's input",
    "joint order": "every list of the robot is in joint_names order; motor i of the SDK: sdk_index",
    "quaternion": "w, x, y, z",
}


@dataclass(frozen=True)
class Golden:
    """Recorded inputs and outputs: ``steps`` x ``rows`` decisions; outputs agree within ``tolerance``.

    The file holds obs (steps, rows, L, n), start (steps, rows) bool, command and action (steps, rows, H, A), and noise
    (steps, rows, D, H, A), image (steps, rows, h, w, 3) uint8 and instruction (steps, rows, length) uint8, UTF-8 filled
    up with zeros, where the network takes some.
    """

    file: str
    steps: int
    rows: int
    tolerance: float


@dataclass(frozen=True)
class Parity:
    """Evidence of the export: the largest difference between torch and onnxruntime over so many decisions.

    observations: one of each decision; with it the L - 1 before it, where it is made on a history.
    ties: decisions of a policy of tokens that differ because two tokens are equally likely to within rounding; the
        differences are those of the others.
    """

    observations: int
    max_abs_command: float
    max_abs_action: float
    tolerance: float
    ties: int = 0


@dataclass(frozen=True)
class FileInfo:
    """What a file of the bundle must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The whole file."""

    format: str
    format_version: int
    contract: Contract
    conventions: dict[str, str]
    golden: Golden
    parity: Parity
    provenance: dict[str, Any]
    files: dict[str, FileInfo]
    sha256: str

    def sealed(self) -> Manifest:
        """The same with its own hash filled in."""
        return dataclasses.replace(self, sha256=self.own_sha256())

    def own_sha256(self) -> str:
        """Hash of the canonical JSON of everything but the hash."""
        data = schema.encode(self)
        del data["sha256"]
        return hashlib.sha256(schema.canonical(data)).hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        (folder / FILE).write_text(schema.pretty(schema.encode(self)) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check ``manifest.json``; :class:`SchemaError` says what is wrong with it.

        The hashes are not compared here: see :func:`check_seal` and :func:`check_files`.
        """
        path = folder / FILE
        if not path.is_file():
            raise SchemaError(f"{folder} is no bundle: it has no {FILE}")
        data = schema.parse(path.read_text(encoding="utf-8"))
        _check_format(data)
        manifest = schema.decode(cls, data, "manifest")
        check_sizes(manifest.contract)
        return manifest


def check_seal(manifest: Manifest) -> str:
    """The manifest is as it was written; returns its hash."""
    found = manifest.own_sha256()
    if found != manifest.sha256:
        raise SchemaError(
            f"{FILE} was changed after the export: it says sha256 {manifest.sha256}, it hashes to {found}"
        )
    return found


def check_files(manifest: Manifest, folder: Path) -> str:
    """Every file is there as it was written, and no other; returns how many were hashed."""
    for name, info in manifest.files.items():
        path = folder / name
        require(path.is_file(), f"{name} is missing")
        found = file_info(path)
        require(found.bytes == info.bytes, f"{name} has {found.bytes} bytes, the manifest says {info.bytes}")
        require(found.sha256 == info.sha256, f"{name} was changed after the export: sha256 {found.sha256}")
    for name in (manifest.contract.model.file, manifest.golden.file):
        require(name in manifest.files, f"{name} has no hash in the manifest")
    extra = sorted({path.name for path in folder.iterdir()} - set(manifest.files) - {FILE})
    require(not extra, f"files that the manifest does not list: {', '.join(extra)}")
    return f"{len(manifest.files)} files"


def file_info(path: Path) -> FileInfo:
    """Hash and size of a file."""
    data = path.read_bytes()
    return FileInfo(hashlib.sha256(data).hexdigest(), len(data))


def _check_format(data: Any) -> None:
    found: Mapping[str, Any] = data if isinstance(data, dict) else {}
    require(found.get("format") == FORMAT, f"{FILE}: format is {found.get('format')!r}, expected {FORMAT!r}")
    version = found.get("format_version")
    require(
        version in READABLE,
        f"{FILE}: format version {version!r}; this program reads {' and '.join(map(str, READABLE))}: "
        "export the checkpoint again",
    )
