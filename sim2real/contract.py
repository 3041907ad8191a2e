"""The contract: what the network of a bundle means, made from the task's :class:`embodied.types.TaskSpec`.

Needs the standard library alone, so that the robot's side reads a contract by the same code that wrote it.

Legend: n size of one observation; L observations of a history, oldest first; H actions of a chunk; A action size;
D noise tensors of a decision; J joints; W word numbers. A control step is one command; a decision is H of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import perception, schema
from .perception import Image, Instruction
from .schema import SchemaError

if TYPE_CHECKING:
    from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec

POLICY_GROUP = "policy"
BATCH = "batch"
NORMAL = "normal"


@dataclass(frozen=True)
class Task:
    """control_dt [s] between commands, physics_dt [s] of a simulation substep, horizon in decisions (0: endless)."""

    name: str
    control_dt: float
    physics_dt: float
    horizon: int
    success_metric: str | None


@dataclass(frozen=True)
class Decision:
    """When the network is asked, and about what.

    period: seconds between decisions, ``execute * control_dt``.
    history: L; a decision is made on the observations of the last L control steps, those between decisions included.
    chunk: H, the actions it makes.  execute: how many of them are executed before the next decision.
    """

    period: float
    history: int
    chunk: int
    execute: int


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
    """A state that is carried from decision to decision: fed to ``input``, read from ``output``. shape: of one row."""

    input: str
    output: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class NoiseInfo:
    """The random numbers of a decision, which are an input, since a network that draws them cannot be checked.

    shape: (D, H, A) of one row.  law: ``normal``, independent and of mean 0.
    scale: the deviation that deterministic decisions are made with: 0 (no noise) or 1, as the policy was configured.
    """

    input: str
    shape: tuple[int, int, int]
    law: str
    scale: float


@dataclass(frozen=True)
class Model:
    """The ONNX file. Inputs: ``obs`` (batch, L, n), the image, the words, the noise, the memory; outputs: ``command``
    and ``action`` (batch, H, A), the memory.
    """

    file: str
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    noise: NoiseInfo | None
    memory: tuple[MemoryInfo, ...]


@dataclass(frozen=True)
class Contract:
    """The part of a manifest that says what the network means; its hash is also inside the ONNX file.

    image, instruction: what a decision is made on beside the measurements; None for a policy that takes none.
    """

    task: Task
    decision: Decision
    observation: tuple[Term, ...]
    action: Action
    robot: Robot | None
    command_ranges: dict[str, tuple[float, float]]
    model: Model
    image: Image | None = None
    instruction: Instruction | None = None

    @property
    def obs_size(self) -> int:
        """n, the size of one observation."""
        return sum(term.size for term in self.observation)

    @property
    def obs_shape(self) -> tuple[int, int]:
        """(L, n): what a decision is made on."""
        return self.decision.history, self.obs_size

    @property
    def action_shape(self) -> tuple[int, int]:
        """(H, A): what a decision makes."""
        return self.decision.chunk, len(self.action.names)

    def sha256(self) -> str:
        """Hash of the canonical JSON."""
        return hashlib.sha256(schema.canonical(schema.encode(self))).hexdigest()


def contract_of(spec: TaskSpec, model: Model, instruction: Instruction | None = None) -> Contract:
    """The contract of a task's policy group, camera and action. ValueError where the task cannot be exported.

    instruction: how the policy reads the task's instructions; None: it reads none.
    """
    group = _policy_group(spec)
    chunk, history = spec.action.chunk, history_of(group)
    contract = Contract(
        task=Task(spec.name, spec.control_dt / chunk, spec.physics_dt, spec.horizon, spec.success_metric),
        decision=Decision(spec.control_dt, history, chunk, execute=chunk),
        observation=_terms(group.terms),
        action=_action(spec.action),
        robot=None if spec.robot is None else Robot(**dataclasses.asdict(spec.robot)),
        command_ranges=dict(spec.command),
        model=model,
        image=perception.image_of(spec),
        instruction=instruction,
    )
    # A trip through JSON: what cannot be written (NaN, an unknown type) is found here, not on the robot.
    data = schema.parse(schema.canonical(schema.encode(contract)).decode())
    contract = schema.decode(Contract, data, "contract")
    check_sizes(contract)
    return contract


def history_of(group: ObsGroup) -> int:
    """L of a group of shape (L, n), 1 for one of shape (n,)."""
    return group.shape[0] if len(group.shape) == 2 else 1


def _policy_group(spec: TaskSpec) -> ObsGroup:
    if POLICY_GROUP not in spec.obs or not spec.obs[POLICY_GROUP].terms:
        raise ValueError(f"task {spec.name!r} has no observation group {POLICY_GROUP!r} with named terms to export")
    return spec.obs[POLICY_GROUP]


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


# Checks --------------------------------------------------------------------------------------------------------


def check_sizes(contract: Contract) -> None:
    """Lists that must agree in length do, the terms fill the observation, periods and limits are ordered."""
    action = contract.action
    _lengths("action", action, ("offset", "scale", "command_low", "command_high"), len(action.names), "names")
    if action.command_low is not None and action.command_high is not None:
        ordered = all(a <= b for a, b in zip(action.command_low, action.command_high, strict=True))
        require(ordered, "action.command_low exceeds action.command_high")
    _check_terms(contract.observation)
    _check_decision(contract.decision, contract.task.control_dt)
    perception.check(contract.image, contract.instruction)
    _check_model(contract)
    if contract.robot is not None:
        _check_robot(contract.robot)
        if action.kind == "joint_position":
            unknown = [name for name in action.names if name not in contract.robot.joint_names]
            require(not unknown, f"action.names: {unknown} are no joints of {contract.robot.name}")


def _check_terms(terms: tuple[Term, ...]) -> None:
    end = 0
    for term in terms:
        require(term.start == end, f"observation.{term.name}: starts at {term.start}, the term before ends at {end}")
        require(len(term.names) in (0, term.size), f"observation.{term.name}: {len(term.names)} names for {term.size}")
        end = term.start + term.size
    names = [term.name for term in terms]
    require(len(set(names)) == len(names), f"observation: a term's name appears twice in {names}")


def _check_decision(decision: Decision, control_dt: float) -> None:
    require(control_dt > 0, f"task.control_dt must be positive, got {control_dt}")
    require(decision.history >= 1, f"decision.history must be at least 1, got {decision.history}")
    possible = 1 <= decision.execute <= decision.chunk
    require(possible, f"decision.execute: {decision.execute} of a chunk of {decision.chunk} cannot be executed")
    expected = decision.execute * control_dt
    fits = math.isclose(decision.period, expected, rel_tol=1e-9)
    require(fits, f"decision.period: {decision.period} s, but {decision.execute} commands last {expected} s")


def _check_model(contract: Contract) -> None:
    model, noise = contract.model, contract.model.noise
    image, told = contract.image, contract.instruction
    drawn = [part.input for part in (image, told, noise) if part is not None]
    names = ["obs", *drawn, *(state.input for state in model.memory)]
    require([tensor.name for tensor in model.inputs] == names, f"model.inputs must be {', '.join(names)}")
    given = dict(zip(names, model.inputs, strict=True))
    names = ["command", "action", *(state.output for state in model.memory)]
    require([tensor.name for tensor in model.outputs] == names, f"model.outputs must be {', '.join(names)}")
    _shape("the observation", contract.obs_shape, given["obs"])
    if image is not None:
        _shape("the image", image.shape, given[image.input], image.dtype)
    if told is not None:
        _shape("the instruction", (told.max_words,), given[told.input], "int64")
    for tensor in model.outputs[:2]:
        _shape("the decision", contract.action_shape, tensor)
    if noise is not None:
        _shape("the noise", noise.shape, given[noise.input])
        fits = noise.shape[0] >= 1 and noise.shape[-1] == len(contract.action.names)
        require(fits, f"model.noise.shape: {noise.shape} for {len(contract.action.names)} actions")
        require(noise.law == NORMAL, f"model.noise.law: {noise.law!r} is not known; valid: {NORMAL}")
        require(noise.scale >= 0, f"model.noise.scale must not be negative, got {noise.scale}")


def _shape(what: str, shape: tuple[int, ...], tensor: TensorInfo, dtype: str = "float32") -> None:
    expected = (BATCH, *shape)
    require(tensor.shape == expected, f"model: {tensor.name} has shape {tensor.shape}, {what} {expected}")
    require(tensor.dtype == dtype, f"model: {tensor.name} is {tensor.dtype}, {what} {dtype}")


def _check_robot(robot: Robot) -> None:
    fields = ("default_joint_pos", "joint_low", "joint_high", "torque_limit", "velocity_limit", "kp", "kd", "sdk_index")
    _lengths("robot", robot, fields, len(robot.joint_names), "joint_names")
    require(len(set(robot.joint_names)) == len(robot.joint_names), "robot.joint_names: a name appears twice")
    require(len(set(robot.sdk_index)) == len(robot.sdk_index), "robot.sdk_index: a motor appears twice")
    require(all(low < high for low, high in zip(robot.joint_low, robot.joint_high, strict=True)), "robot: empty range")
    positive = all(math.isfinite(x) and x > 0 for x in robot.torque_limit + robot.velocity_limit)
    require(positive, "robot: torque and velocity limits must be positive")


def _lengths(path: str, item: Any, fields: tuple[str, ...], size: int, names: str) -> None:
    for field in fields:
        value = getattr(item, field)
        if value is not None and len(value) != size:
            raise SchemaError(f"{path}.{field}: {len(value)} entries for {size} {names}")


def require(condition: bool, message: str) -> None:
    """Raise :class:`SchemaError` with this message unless the condition holds."""
    if not condition:
        raise SchemaError(message)
