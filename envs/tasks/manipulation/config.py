"""What YAML says of a tabletop task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embodied.configuration import choice, positive, whole

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""What an action may move: the hand along and about the world's axes, and the fingers."""


@dataclass(frozen=True)
class ManipulationConfig:
    """A tabletop task of one arm.

    task: which one.  horizon: control steps.
    deadline: what is not solved by the horizon has failed: the episode terminates there, and the group ``critic`` has
        the time that is left. Without one it is truncated, and its last observation is worth what the critic thinks.
    control_dt, physics_dt: seconds.
    ik_steps: times a control step that the joints' targets are set anew, each time after an equal part of the move.
    reward: ``sparse``, 1 at success and 0 before; or ``dense``, the same plus the gain of the task's progress in
        [0, 1], a potential, so that without a deadline the best behaviour stays the same (Ng, Harada and Russell 1999);
        with one, what a failure has gained remains.
    axes: elements of the action, of :data:`AXES`; the hand keeps its height and orientation along those left out.
    position_scale, rotation_scale: m and rad that an action of 1 moves the hand's target in a control step.
    workspace_low, workspace_high: box that the target stays in, m, world.
    max_lead, max_turn: the target stays within this distance [m] and angle [rad] of the hand, so that a blocked hand
        does not press ever harder.
    start_noise: half-width [rad] of the uniform noise on the arm's first joint angles.
    randomization: ``object_friction`` (set) and ``object_mass`` (scaled), name -> law.
    options: what the task alone knows; its module documents them.
    """

    name: str
    kind: str
    task: str
    description: str = ""
    horizon: int = 100
    deadline: bool = False
    control_dt: float = 0.05
    ik_steps: int = 1
    physics_dt: float = 0.005
    reward: str = "sparse"
    axes: tuple[str, ...] = ("x", "y", "z", "yaw", "gripper")
    position_scale: float = 0.02
    rotation_scale: float = 0.1
    workspace_low: tuple[float, float, float] = (0.25, -0.35, 0.015)
    workspace_high: tuple[float, float, float] = (0.75, 0.35, 0.5)
    max_lead: float = 0.05
    max_turn: float = 0.3
    start_noise: float = 0.02
    randomization: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choice("task.reward", self.reward, ("sparse", "dense"))
        for axis in self.axes:
            choice("task.axes", axis, AXES)
        if not self.axes or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"task.axes={self.axes}: one or more of {', '.join(AXES)}, each once")
        for name in ("horizon", "control_dt", "physics_dt", "position_scale", "rotation_scale", "max_lead", "max_turn"):
            positive(f"task.{name}", getattr(self, name))
        whole("task.ik_steps", self.ik_steps)
        if not all(a < b for a, b in zip(self.workspace_low, self.workspace_high, strict=True)):
            raise ValueError(f"task.workspace: {self.workspace_low} is not below {self.workspace_high}")
        if abs(self.substeps * self.physics_dt - self.control_dt) > 1e-9:
            raise ValueError(f"task.control_dt={self.control_dt} is no multiple of physics_dt={self.physics_dt}")
        if self.substeps % self.ik_steps:
            raise ValueError(f"task.ik_steps={self.ik_steps}: the {self.substeps} physics steps do not divide by it")

    @property
    def substeps(self) -> int:
        """Physics steps of a control step."""
        return max(1, round(self.control_dt / self.physics_dt))
