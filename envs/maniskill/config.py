"""What YAML says of a ManiSkill task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embodied.configuration import choice, whole

OBSERVATIONS = ("state", "rgb")
REWARDS = ("normalized_dense", "dense", "sparse", "none")
ENDINGS = ("truncate", "terminate", "continue")
BACKENDS = ("auto", "physx_cpu", "physx_cuda")
SUCCESSES = ("once", "at_end")


@dataclass(frozen=True)
class ManiSkillConfig:
    """A ManiSkill 3 environment by its id.

    id: as registered with ManiSkill; ``module:Name-v1`` imports a module that registers it first.
    obs: ``state``: everything, one vector; ``rgb``: what the robot measures, a camera's image, and the instruction in
        words where the task has one.
    control_mode: of the robot, e.g. ``pd_joint_delta_pos`` or ``pd_ee_delta_pose``.
    reward: the reward mode, of :data:`REWARDS`.
    on_success: ``truncate``: the episode ends, and the learner adds the value of where it ended, as ManiSkill's own PPO
        does (with a dense reward, ``terminate`` would pay for standing just before the goal); ``terminate``: it ends
        for good; ``continue``: it goes on, also after a failure. Evaluate with ``continue``.
    deadline: the episode terminates at its horizon, instead of being truncated there.
    success: what counts as the episode's success: that it was one ``once``, or ``at_end``.
    camera: whose image the group ``image`` is; null: the task's first.  image_size: its sides in pixels; 0: its own.
    episodes: of an evaluation. Episodes then have the seeds seed * episodes, seed * episodes + 1, ... in order over the
        worlds; 0: seeds are drawn, none of which an evaluation has.
    max_episode_steps: replaces the registered horizon.
    backend: ``physx_cpu`` (each world by itself, over worker processes), ``physx_cuda`` (all of them in one), or
        ``auto``: where the tensors are.
    kwargs: of the environment's constructor.
    """

    name: str
    kind: str
    id: str
    description: str = ""
    obs: str = "state"
    control_mode: str = "pd_joint_delta_pos"
    reward: str = "normalized_dense"
    on_success: str = "truncate"
    deadline: bool = False
    success: str = "once"
    camera: str | None = None
    image_size: int = 0
    episodes: int = 0
    max_episode_steps: int | None = None
    backend: str = "auto"
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choice("task.obs", self.obs, OBSERVATIONS)
        choice("task.reward", self.reward, REWARDS)
        choice("task.on_success", self.on_success, ENDINGS)
        choice("task.success", self.success, SUCCESSES)
        choice("task.backend", self.backend, BACKENDS)
        for name in ("image_size", "episodes"):
            whole(f"task.{name}", getattr(self, name), low=0)
        if self.max_episode_steps is not None:
            whole("task.max_episode_steps", self.max_episode_steps)
