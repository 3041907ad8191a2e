"""Configuration of the legged tasks: defaults, types and checks; YAML in ``configs/task`` chooses the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embodied.configuration import positive


@dataclass(frozen=True)
class DelayConfig:
    """Latencies [s], uniform between the two numbers, drawn per episode and rounded to substeps (action) or control
    periods (observation)."""

    action_s: tuple[float, float] = (0.0, 0.0)
    observation_s: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("action_s", "observation_s"):
            limits = getattr(self, name)
            if not isinstance(limits, tuple) or len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
                raise ValueError(f"delay.{name} must be [low, high] with 0 <= low <= high, got {limits}")

    def check(self, control_dt: float) -> None:
        """Raise ValueError for delays beyond a control period: one action and one observation are kept."""
        if self.action_s[1] > control_dt + 1e-9:
            raise ValueError(f"delay.action_s: {self.action_s[1]} s is longer than the control period, {control_dt} s")
        if round(self.observation_s[1] / control_dt) > 1:
            raise ValueError(f"delay.observation_s: {self.observation_s[1]} s is more than one period, {control_dt} s")


@dataclass(frozen=True)
class GaitConfig:
    """A clock: ``frequency`` [Hz], fraction ``duty`` of a cycle in stance, each leg's offset in cycles."""

    frequency: float = 2.0
    duty: float = 0.6
    offsets: Mapping[str, float] = field(default_factory=lambda: {"FR": 0.0, "FL": 0.5, "RR": 0.5, "RL": 0.0})

    def __post_init__(self) -> None:
        positive("gait.frequency", self.frequency)
        if not 0.0 < self.duty < 1.0:
            raise ValueError(f"gait.duty is a fraction of the cycle between 0 and 1, got {self.duty}")

    def check(self, legs: Sequence[str]) -> None:
        """Raise ValueError unless every leg has its offset."""
        if set(self.offsets) != set(legs):
            raise ValueError(f"gait.offsets names {', '.join(self.offsets)}; the robot's legs are {', '.join(legs)}")


_MAPPINGS = (
    *("scene", "commands", "gait", "push", "delay", "initial"),
    *("randomization", "observations", "rewards", "terminations"),
)


@dataclass(frozen=True)
class LeggedConfig:
    """A legged task.

    robot: a name of ``envs.robots``.  control_dt, physics_dt: s.  episode_length_s: s.
    scene: overrides of :class:`envs.mujoco.scene.SceneConfig`.  action_scale: rad a policy unit.
    termination_penalty: subtracted from the reward, once, where a termination ends the episode.
    evaluation: place the worlds on every kind and level of the terrain in turn and keep them there; no curriculum.
    initial: the start of an episode; see the task's ``initial_state``.
    Where a mapping is expected, null is the empty one.
    """

    name: str
    kind: str
    robot: str
    description: str = ""
    control_dt: float = 0.02
    physics_dt: float = 0.01
    episode_length_s: float = 20.0
    action_scale: float = 0.25
    action_limit: float | None = None
    scene: Mapping[str, Any] = field(default_factory=dict)
    terrain: Mapping[str, Any] | None = None
    evaluation: bool = False
    scan: Mapping[str, Any] | None = None
    commands: Mapping[str, Any] = field(default_factory=dict)
    gait: Mapping[str, Any] = field(default_factory=dict)
    push: Mapping[str, Any] = field(default_factory=dict)
    delay: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, float] = field(default_factory=dict)
    encoder_bias: float = 0.0
    randomization: Mapping[str, Any] = field(default_factory=dict)
    observations: Mapping[str, Any] = field(default_factory=dict)
    rewards: Mapping[str, Any] = field(default_factory=dict)
    terminations: Mapping[str, Any] = field(default_factory=dict)
    termination_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name in _MAPPINGS:
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, {})
            elif not isinstance(value, Mapping):
                raise ValueError(f"task.{name} must be a mapping of names to values, got {value!r}")
        for name in ("control_dt", "physics_dt", "episode_length_s", "action_scale"):
            positive(f"task.{name}", getattr(self, name))
        if self.action_limit is not None:
            positive("task.action_limit", self.action_limit)

    @property
    def substeps(self) -> int:
        """Physics steps a control period; the periods must divide."""
        count = round(self.control_dt / self.physics_dt)
        if count < 1 or abs(count * self.physics_dt - self.control_dt) > 1e-9:
            raise ValueError(f"control_dt {self.control_dt} is no multiple of physics_dt {self.physics_dt}")
        return count
