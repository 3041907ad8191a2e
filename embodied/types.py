"""The contracts that every package exchanges; everything here fits on one page of shapes.

Legend: N worlds x M agents = B rows; T steps; H action chunk; A action size; F likelihood factors.

``envs``, ``policies``, ``sim2real`` import this module, ``configuration`` and ``text``, nothing else of ``embodied``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

Obs = dict[str, Tensor]
"""Observation groups: ``policy`` (what the robot measures), ``critic`` (privileged), ``image``, ... each (B, ...)."""
CRITIC_GROUP = "critic"
"""The group that no action depends on: only values do, which nobody asks for outside training."""


@dataclass
class Decision:
    """What a policy decided for B rows, and all that is needed to evaluate that decision again.

    action: (B, H, A).  log_prob: (B, F).  value: (B,).
    trace: every random draw behind the action, name -> (B, ...); for a recurrent policy also ``memory/<key>``,
        the memory the decision was made with.
    memory: the recurrent memory after the decision, name -> (B, ...); empty for a policy without memory.
    """

    action: Tensor
    log_prob: Tensor
    value: Tensor
    trace: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Evaluation:
    """A stored decision seen by the policy of now. log_prob: (B, F), entropy: (B, F), value: (B,).

    auxiliary: (B,) a loss of the policy's own, whose mean over the decisions that count PPO adds to its loss as it
        stands (DPO does not); None: it has none.
    """

    log_prob: Tensor
    entropy: Tensor
    value: Tensor
    auxiliary: Tensor | None = None


@dataclass
class StepResult:
    """One step of B rows, with same-step autoreset.

    obs: after the reset of the rows that ended.  reward: (B,).  terminated, truncated: (B,) bool, never both.
    final_obs: the observation before that reset, valid where a row ended.
    metrics: figures of the whole episode (``return``, ``length``, ``success``, ``reward/<term>``, ...), each (B,),
        valid where a row ended.
    active: (B,) bool; False rows (opponents, padding) count in no mean of the learner. None: all are active.
    steps: (B,) control steps that the decision lasted, for a chunk may be cut short by its episode's end. None: 1.
    """

    obs: Obs
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    final_obs: Obs
    metrics: dict[str, Tensor]
    active: Tensor | None = None
    steps: Tensor | None = None

    @property
    def done(self) -> Tensor:
        """(B,) bool: the row's episode ended at this step."""
        return self.terminated | self.truncated


@runtime_checkable
class Policy(Protocol):
    """A likelihood over actions, together with a value. Also an ``nn.Module``.

    factor_weight, factor_clip: (F,). How much each likelihood factor weighs in the surrogate, and how far its
        ratio may move, as a multiple of the learner's clip range.
    recurrent: the policy has a memory; minibatches then are whole sequences with leading shape (T, b), and
        ``trace`` carries ``episode_start`` (T, b) bool beside ``memory/<key>``.
    """

    recurrent: bool
    factor_weight: Tensor
    factor_clip: Tensor

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """The memory at the start of an episode, name -> (rows, ...); empty without memory."""

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw a decision for B rows, or take the most likely one."""

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of decisions made before: (B, ...) each, or (T, b, ...) for a recurrent policy."""

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """Value of B observations, (B,)."""


@runtime_checkable
class Scheduled(Protocol):
    """A policy that changes with the progress of training, e.g. whose exploration noise decays."""

    def set_progress(self, fraction: float) -> None:
        """Told before every rollout: ``fraction`` in [0, 1] of the environment steps is done."""


@runtime_checkable
class VecEnv(Protocol):
    """B rows of one task, all tensors on ``device``."""

    spec: TaskSpec
    num_rows: int
    device: torch.device

    def reset(self, seed: int | None = None) -> Obs:
        """Start every row afresh. With a seed, everything that follows is a function of it."""

    def step(self, action: Tensor) -> StepResult:
        """Apply actions (B, H, A) in policy units; rows that end are reset within the step."""

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact continuation needs: physics, counters, curriculum, random generators."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()`` of an environment of the same configuration."""

    def render(self, row: int = 0) -> np.ndarray:
        """RGB frame of one row, (height, width, 3) uint8."""

    def close(self) -> None:
        """Release threads, windows and device memory."""


# What a task tells about itself ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObsTerm:
    """One named slice of an observation group.

    The environment hands out ``raw * scale`` (+ noise before scaling); ``raw`` is in ``unit`` and ``frame``.
    noise: half-width of the uniform noise on ``raw``, in ``unit``.
    names: one per element, e.g. the joint names; may be empty.
    parameters: constants needed to compute the term on a robot, e.g. the gait clock's frequency [Hz].
    """

    name: str
    size: int
    unit: str = "1"
    frame: str = "-"
    scale: float = 1.0
    noise: float = 0.0
    names: tuple[str, ...] = ()
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ObsGroup:
    """An observation group: a vector made of terms in this order, or one array such as an image.

    shape: of one row, without B.  normalize: the learner standardises it by running moments.
    """

    terms: tuple[ObsTerm, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    normalize: bool = True

    @classmethod
    def of(cls, *terms: ObsTerm, normalize: bool = True) -> ObsGroup:
        """A vector group of these terms."""
        return cls(terms=tuple(terms), shape=(sum(term.size for term in terms),), normalize=normalize)


@dataclass(frozen=True)
class ActionSpec:
    """What an action means: ``command = offset + scale * clip(action, low, high)``, in ``unit``.

    names, offset, scale, command_low, command_high: one entry per element, A of them.
    low, high: limits of the policy's own units; None where unbounded.
    chunk: H, the actions executed per decision.
    kind: ``joint_position`` (targets of a PD controller), ``torque``, ``ctrl``, ...
    """

    names: tuple[str, ...]
    unit: str = "1"
    kind: str = "ctrl"
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    command_low: tuple[float, ...] = ()
    command_high: tuple[float, ...] = ()
    chunk: int = 1

    @property
    def size(self) -> int:
        """A, the number of action elements."""
        return len(self.names)


@dataclass(frozen=True)
class Mirror:
    """A reflection of vectors: ``mirrored = sign * x[..., index]``."""

    index: tuple[int, ...]
    sign: tuple[float, ...]

    def __post_init__(self) -> None:
        if sorted(self.index) != list(range(len(self.index))) or len(self.sign) != len(self.index):
            raise ValueError(f"not a reflection: index {self.index} must permute 0..{len(self.sign) - 1}")

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., list(self.index)] * x.new_tensor(self.sign)


@dataclass(frozen=True)
class Symmetry:
    """The task's left-right symmetry: a Mirror for each observation group and one for the action."""

    obs: dict[str, Mirror]
    action: Mirror


@dataclass(frozen=True)
class RobotSpec:
    """What a robot is to a controller; every sequence is in ``joint_names`` order.

    Units: rad, rad/s, N m, N m/rad, N m s/rad, kg, s. sdk_index[i] is the motor number of joint i in the maker's SDK.
    sources: where the constants come from, name -> reference.
    """

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
    foot_names: tuple[str, ...] = ()
    imu_position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sources: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSpec:
    """Everything a policy, a checkpoint and an exporter have to know of a task.

    control_dt: seconds between decisions.  physics_dt: seconds of one simulation substep; 0 if there is none.
    horizon: decisions after which an episode ends, truncated unless the task has a deadline; 0 if never.
    obs: group name -> ObsGroup.  success_metric: the episode metric in [0, 1] that counts as success, or None.
    command: name -> (low, high) of what a user may ask for, in the units of the observation term ``command``.
    """

    name: str
    control_dt: float
    horizon: int
    obs: dict[str, ObsGroup]
    action: ActionSpec
    physics_dt: float = 0.0
    success_metric: str | None = None
    command: dict[str, tuple[float, float]] = field(default_factory=dict)
    robot: RobotSpec | None = None
    symmetry: Symmetry | None = None
    num_agents: int = 1

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskSpec:
        """The inverse of ``to_dict``, also after a trip through JSON."""
        data = dict(data)
        data["obs"] = {name: _obs_group(group) for name, group in data["obs"].items()}
        data["action"] = ActionSpec(**_tuples(data["action"]))
        data["command"] = {name: tuple(limits) for name, limits in data.get("command", {}).items()}
        if data.get("robot") is not None:
            data["robot"] = RobotSpec(**_tuples(data["robot"]))
        if data.get("symmetry") is not None:
            mirrors = {name: Mirror(**_tuples(mirror)) for name, mirror in data["symmetry"]["obs"].items()}
            data["symmetry"] = Symmetry(mirrors, Mirror(**_tuples(data["symmetry"]["action"])))
        return cls(**data)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only; the specs hold tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _obs_group(data: Mapping[str, Any]) -> ObsGroup:
    terms = tuple(ObsTerm(**_tuples(term)) for term in data["terms"])
    return ObsGroup(**{**_tuples(data), "terms": terms})
