"""The manifest: all that a robot has to know of a policy, in one JSON file with full precision.

It is made from the task's :class:`embodied.types.TaskSpec`. This module needs the standard library alone, so that the
robot's side reads a manifest by the same code that wrote it. Legend: n observation size, A action size, J joints.

Four things tie a bundle together: the sha256 of every file, the manifest's own sha256, the sha256 of its contract
inside the ONNX file, and golden vectors. They find accidents and careless edits; they are no signature.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import schema
from .schema import SchemaError

if TYPE_CHECKING:
    from embodied.types import ActionSpec, ObsTerm, TaskSpec

FORMAT = "embodied-bundle"
FORMAT_VERSION = 1
FILE = "manifest.json"
POLICY_GROUP = "policy"

CONVENTIONS = {
    "observation": "obs[start:start + size] = scale * raw, raw in the term's unit and frame; no noise is added",
    "normaliser": "inside the model: give it obs as above, not standardised",
    "command": "clip(offset + scale * clip(action, low, high), command_low, command_high), in the action's unit",
    "action": "clip(policy output, low, high): what the next observation's previous-action term holds",
    "previous action": "zeros at the start of an episode",
    "memory": "zeros at the start of an episode; then each step's output is the next step's input",
    "joint order": "every list of the robot is in joint_names order; motor i of the SDK: sdk_index",
    "quaternion": "w, x, y, z",
}


@dataclass(frozen=True)
class Task:
    """control_dt [s] between decisions, physics_dt [s] of a simulation substep, horizon in decisions (0: endless)."""

    name: str
    control_dt: float
    physics_dt: float
    horizon: int
    success_metric: str | None


@dataclass(frozen=True)
class Term:
    """One slice of the observation, as :class:`embodied.types.ObsTerm`, with where it starts."""

    name: str
    start: int
    size: int
    unit: str
    frame: str
    scale: float
    noise: float
    names: tuple[str, ...]
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Action:
    """As :class:`embodied.types.ActionSpec`, with offset and scale filled in; command limits null where unbounded."""

    names: tuple[str, ...]
    unit: str
    kind: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    low: float | None
    high: float | None
    command_low: tuple[float, ...] | None
    command_high: tuple[float, ...] | None


@dataclass(frozen=True)
class Robot:
    """As :class:`embodied.types.RobotSpec`."""

    name: str
    joint_names: tuple[str, ...]
    default_joint_pos: tuple[float, ...]
    joint_low: tuple[float, ...]
    joint_high: tuple[float, ...]
    torque_limit: tuple[float, ...]
    velocity_limit: tuple[float, ...]
    kp: tuple[float, ...]
    kd: tuple[float, ...]
    sdk_index: tuple[int, ...]
    base_height: float
    total_mass: float
    foot_names: tuple[str, ...]
    imu_position: tuple[float, float, float]
    sources: dict[str, str]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the model. shape: ``batch`` stands for any number of rows."""

    name: str
    shape: tuple[str | int, ...]
    dtype: str


@dataclass(frozen=True)
class MemoryInfo:
    """A recurrent state: fed to ``input``, read from ``output``. shape: of one row."""

    input: str
    output: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """The ONNX file."""

    file: str
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    memory: tuple[MemoryInfo, ...]


@dataclass(frozen=True)
class Golden:
    """Recorded inputs and outputs: ``steps`` x ``rows`` observations; outputs agree within ``tolerance``."""

    file: str
    steps: int
    rows: int
    tolerance: float


@dataclass(frozen=True)
class Parity:
    """Evidence of the export: the largest difference between torch and onnxruntime over so many observations."""

    observations: int
    max_abs_command: float
    max_abs_action: float
    tolerance: float


@dataclass(frozen=True)
class FileInfo:
    """What a file of the bundle must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Contract:
    """The part of a manifest that says what the network means; its hash is also inside the ONNX file."""

    task: Task
    observation: tuple[Term, ...]
    action: Action
    robot: Robot | None
    command_ranges: dict[str, tuple[float, float]]
    model: Model

    @property
    def obs_size(self) -> int:
        """n, the observation's size."""
        return sum(term.size for term in self.observation)

    def sha256(self) -> str:
        """Hash of the canonical JSON."""
        return hashlib.sha256(schema.canonical(dataclasses.asdict(self))).hexdigest()


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
    sha256: str = ""

    def sealed(self) -> Manifest:
        """The same with its own hash filled in."""
        return dataclasses.replace(self, sha256=self.own_sha256())

    def own_sha256(self) -> str:
        """Hash of the canonical JSON of everything but the hash."""
        data = dataclasses.asdict(self)
        del data["sha256"]
        return hashlib.sha256(schema.canonical(data)).hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        (folder / FILE).write_text(schema.pretty(dataclasses.asdict(self)) + "\n", encoding="utf-8")

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


def contract_of(spec: TaskSpec, model: Model) -> Contract:
    """The contract of a task's policy group and action. ValueError where the task cannot be exported yet."""
    if POLICY_GROUP not in spec.obs or not spec.obs[POLICY_GROUP].terms:
        raise ValueError(f"task {spec.name!r} has no observation group {POLICY_GROUP!r} with named terms to export")
    if spec.action.chunk != 1:
        raise ValueError(f"task {spec.name!r} executes chunks of {spec.action.chunk} actions; only 1 can be exported")
    contract = Contract(
        task=Task(spec.name, spec.control_dt, spec.physics_dt, spec.horizon, spec.success_metric),
        observation=_terms(spec.obs[POLICY_GROUP].terms),
        action=_action(spec.action),
        robot=None if spec.robot is None else Robot(**dataclasses.asdict(spec.robot)),
        command_ranges=dict(spec.command),
        model=model,
    )
    # A trip through JSON: what cannot be written (NaN, an unknown type) is found here, not on the robot.
    data = schema.parse(schema.canonical(dataclasses.asdict(contract)).decode())
    contract = schema.decode(Contract, data, "contract")
    check_sizes(contract)
    return contract


def check_sizes(contract: Contract) -> None:
    """Lists that must agree in length do, the terms fill the observation, the limits are ordered."""
    action, robot, end = contract.action, contract.robot, 0
    _lengths("action", action, ("offset", "scale", "command_low", "command_high"), len(action.names), "names")
    for term in contract.observation:
        _require(term.start == end, f"observation.{term.name}: starts at {term.start}, the term before ends at {end}")
        _require(len(term.names) in (0, term.size), f"observation.{term.name}: {len(term.names)} names for {term.size}")
        end = term.start + term.size
    names = [term.name for term in contract.observation]
    _require(len(set(names)) == len(names), f"observation: a term's name appears twice in {names}")
    model_size = contract.model.inputs[0].shape[-1] if contract.model.inputs else None
    _require(model_size == end, f"observation: terms have {end} values in all, the model takes {model_size}")
    _require(contract.task.control_dt > 0, f"task.control_dt must be positive, got {contract.task.control_dt}")
    if action.command_low is not None and action.command_high is not None:
        ordered = all(a <= b for a, b in zip(action.command_low, action.command_high, strict=True))
        _require(ordered, "action.command_low exceeds action.command_high")
    if robot is not None:
        _check_robot(robot)
        if action.kind == "joint_position":
            unknown = [name for name in action.names if name not in robot.joint_names]
            _require(not unknown, f"action.names: {unknown} are no joints of {robot.name}")


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
        _require(path.is_file(), f"{name} is missing")
        found = file_info(path)
        _require(found.bytes == info.bytes, f"{name} has {found.bytes} bytes, the manifest says {info.bytes}")
        _require(found.sha256 == info.sha256, f"{name} was changed after the export: sha256 {found.sha256}")
    for name in (manifest.contract.model.file, manifest.golden.file):
        _require(name in manifest.files, f"{name} has no hash in the manifest")
    extra = sorted({path.name for path in folder.iterdir()} - set(manifest.files) - {FILE})
    _require(not extra, f"files that the manifest does not list: {', '.join(extra)}")
    return f"{len(manifest.files)} files"


def file_info(path: Path) -> FileInfo:
    """Hash and size of a file."""
    data = path.read_bytes()
    return FileInfo(hashlib.sha256(data).hexdigest(), len(data))


def _terms(terms: tuple[ObsTerm, ...]) -> tuple[Term, ...]:
    placed, start = [], 0
    for term in terms:
        placed.append(Term(start=start, **dataclasses.asdict(term)))
        start += term.size
    return tuple(placed)


def _action(action: ActionSpec) -> Action:
    """Defaults filled in; the command limits follow from the action's where the task gives none."""
    size = action.size
    offset, scale = action.offset or (0.0,) * size, action.scale or (1.0,) * size
    low, high = action.command_low or None, action.command_high or None
    if low is None and high is None and action.low is not None and action.high is not None:
        ends = [sorted((o + s * action.low, o + s * action.high)) for o, s in zip(offset, scale, strict=True)]
        low, high = tuple(end[0] for end in ends), tuple(end[1] for end in ends)
    return Action(action.names, action.unit, action.kind, offset, scale, action.low, action.high, low, high)


def _check_format(data: Any) -> None:
    found: Mapping[str, Any] = data if isinstance(data, dict) else {}
    _require(found.get("format") == FORMAT, f"{FILE}: format is {found.get('format')!r}, expected {FORMAT!r}")
    version = found.get("format_version")
    _require(version == FORMAT_VERSION, f"{FILE}: format version {version!r}; this program reads {FORMAT_VERSION}")


def _check_robot(robot: Robot) -> None:
    fields = ("default_joint_pos", "joint_low", "joint_high", "torque_limit", "velocity_limit", "kp", "kd", "sdk_index")
    _lengths("robot", robot, fields, len(robot.joint_names), "joint_names")
    _require(len(set(robot.joint_names)) == len(robot.joint_names), "robot.joint_names: a name appears twice")
    _require(len(set(robot.sdk_index)) == len(robot.sdk_index), "robot.sdk_index: a motor appears twice")
    _require(all(low < high for low, high in zip(robot.joint_low, robot.joint_high, strict=True)), "robot: empty range")
    positive = all(math.isfinite(x) and x > 0 for x in robot.torque_limit + robot.velocity_limit)
    _require(positive, "robot: torque and velocity limits must be positive")


def _lengths(path: str, item: Any, fields: tuple[str, ...], size: int, names: str) -> None:
    for field in fields:
        value = getattr(item, field)
        if value is not None and len(value) != size:
            raise SchemaError(f"{path}.{field}: {len(value)} entries for {size} {names}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SchemaError(message)
