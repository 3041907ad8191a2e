"""Configuration of the legged tasks: defaults, types and checks; YAML in ``configs/task`` chooses the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class DelayConfig:
    """Latencies [s], uniform between the two numbers, drawn per episode and rounded to substeps (action) or control
    periods (observation)."""

    action_s: tuple[float, float] = (0.0, 0.0)
    observation_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class GaitConfig:
    """A clock: ``frequency`` [Hz], fraction ``duty`` of a cycle in stance, each leg's offset in cycles."""

    frequency: float = 2.0
    duty: float = 0.6
    offsets: Mapping[str, float] = field(default_factory=lambda: {"FR": 0.0, "FL": 0.5, "RR": 0.5, "RL": 0.0})


@dataclass(frozen=True)
class LeggedConfig:
    """A legged task.

    robot: a name of ``envs.robots``.  control_dt, physics_dt: s.  episode_length_s: s.
    scene: overrides of :class:`envs.mujoco.scene.SceneConfig`.  action_scale: rad a policy unit.
    termination_penalty: subtracted from the reward, once, where a termination ends the episode.
    initial: half-ranges of the start: position [m], yaw [rad], velocity [m/s], joint position [rad].
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
    evaluate_terrain: bool = False
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

    @property
    def substeps(self) -> int:
        """Physics steps a control period; the periods must divide."""
        count = round(self.control_dt / self.physics_dt)
        if count < 1 or abs(count * self.physics_dt - self.control_dt) > 1e-9:
            raise ValueError(f"control_dt {self.control_dt} is no multiple of physics_dt {self.physics_dt}")
        return count
