"""Getting up: from any pose on the ground to a steady stance.

Start: a uniformly random orientation and joint pose, dropped from a small height. There is no early end.
Success: at the horizon the base has been upright, high and at rest for ``HOLD`` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...mdp.frames import random_rotation
from ...mujoco.physics import Physics
from ...mujoco.terrain import Ground
from ...robots.robot import Robot
from .config import LeggedConfig
from .construct import construct
from .legged import LeggedEnv

HOLD = 0.5
"""Seconds for which the stance must have been held."""


class GetupEnv(LeggedEnv):
    """N robots that get up; see :class:`LeggedEnv`."""

    initial_keys = ("height", "velocity", "fallen")

    def __init__(self, config: LeggedConfig, robot: Robot, physics: Physics, ground: Ground, seed: int) -> None:
        super().__init__(config, robot, physics, ground, seed)
        self._upright_time = torch.zeros(self.num_worlds, device=self.device)
        self._first_up = torch.zeros(self.num_worlds, device=self.device)

    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """A random orientation and pose, dropped.

        height: m of the base above the ground.  fallen: share of such starts, the others stand.  velocity: half-range,
        m/s and rad/s.
        """
        n, spread = len(worlds), self.config.initial
        position = self.ground.origin(worlds)
        position[:, 2] += spread.get("height", 0.45)
        normals = torch.randn(n, 4, generator=self.generator, device=self.device)
        share = spread.get("fallen", 1.0)
        level = (self.uniform(n, 0.0, 1.0) >= share)[:, None]
        quat = torch.where(level, normals.new_tensor([1.0, 0.0, 0.0, 0.0]), random_rotation(normals))
        joints = self._low + (self._high - self._low) * self.uniform(n, 0.0, 1.0, len(self._low))
        joints = torch.where(level, self._default, joints)
        speed = spread.get("velocity", 0.0)
        qvel = torch.zeros(n, self.physics.model.nv, device=self.device)
        qvel[:, :6] = self.uniform(n, -speed, speed, 6)
        return torch.cat([position, quat, joints], -1), qvel

    def on_reset(self, worlds: Tensor) -> None:
        super().on_reset(worlds)
        self._upright_time[worlds], self._first_up[worlds] = 0.0, self.config.episode_length_s

    def after_physics(self) -> None:
        """Time for which the stance has been held."""
        super().after_physics()
        s = self._state
        still = (s.joint_vel.abs().mean(-1) < 0.5) & (s.lin_vel_b.norm(dim=-1) < 0.3)
        stands = (s.gravity_b[:, 2] < -0.95) & (s.base_height > 0.8 * self.robot.spec.base_height) & still
        self._upright_time.add_(self.dt).masked_fill_(~stands, 0.0)
        now = self.episode_length.float() * self.dt
        held = self._upright_time >= HOLD
        self._first_up.copy_(torch.where(held, torch.minimum(self._first_up, now), self._first_up))

    def episode_metrics(self) -> dict[str, Tensor]:
        """Success in [0, 1] and the time [s] at which the stance was first held."""
        success = (self._upright_time >= HOLD).float()
        return {"success": success, "time_to_stand": self._first_up} | super().episode_metrics()

    def task_state(self) -> dict[str, Any]:
        state = {"upright_time": self._upright_time.clone(), "first_up": self._first_up.clone()}
        return super().task_state() | state

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        super().load_task_state(state)
        self._upright_time.copy_(state["upright_time"])
        self._first_up.copy_(state["first_up"])


def make(
    config: Mapping[str, Any], *, num_worlds: int, device: Any, engine: str, num_threads: int, seed: int
) -> GetupEnv:
    """Build the task from its configuration; see :func:`envs.registry.make`."""
    return construct(GetupEnv, config, num_worlds, device, engine, num_threads, seed)
