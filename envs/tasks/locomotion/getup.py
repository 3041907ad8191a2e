"""Getting up: from any pose on the ground to a steady stance.

Start: a uniformly random orientation and joint pose, dropped from a small height and limp for a while, so that the
robot lies as it fell when the policy takes over. There is no early end.
Success: at the horizon the base has been upright, high and at rest for ``HOLD`` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...mdp.frames import random_rotation
from .construct import construct
from .legged import LeggedEnv

HOLD = 0.5
"""Seconds for which the stance must have been held."""


class GetupEnv(LeggedEnv):
    """N robots that get up; see :class:`LeggedEnv`."""

    initial_keys = ("height", "velocity", "fallen", "limp")

    own_buffers: ClassVar[Mapping[str, tuple[int, ...]]] = {"upright_time": (), "first_up": (), "limp": ()}  # s

    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """A random orientation and pose, dropped.

        height: m of the base above the ground.  fallen: share of such starts, the others stand.  velocity: half-range,
        m/s and rad/s.  limp: seconds for which the motors of a fallen robot only damp.
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
        self._buffers["limp"][worlds] = torch.where(level[:, 0], 0.0, spread.get("limp", 0.0))
        speed = spread.get("velocity", 0.0)
        qvel = torch.zeros(n, self.physics.model.nv, device=self.device)
        qvel[:, :6] = self.uniform(n, -speed, speed, 6)
        return torch.cat([position, quat, joints], -1), qvel

    def joint_targets(self) -> Tensor:
        """Those of the policy; a limp robot's are where its joints are."""
        limp = self.episode_length * self.dt < self._buffers["limp"] - self.dt / 2
        return torch.where(limp[:, None], self._qpos[:, 7:].float(), super().joint_targets())

    def on_reset(self, worlds: Tensor) -> None:
        super().on_reset(worlds)
        self._buffers["first_up"][worlds] = self.config.episode_length_s

    def after_physics(self) -> None:
        """Time for which the stance has been held."""
        super().after_physics()
        s = self._state
        still = (s.joint_vel.abs().mean(-1) < 0.5) & (s.lin_vel_b.square().sum(-1) < 0.3**2)
        stands = (s.gravity_b[:, 2] < -0.95) & (s.base_height > 0.8 * self.robot.spec.base_height) & still
        upright, first = self._buffers["upright_time"], self._buffers["first_up"]
        upright.add_(self.dt).masked_fill_(~stands, 0.0)
        now = self.episode_length.float() * self.dt
        first.copy_(torch.where(upright >= HOLD, torch.minimum(first, now), first))

    def episode_metrics(self) -> dict[str, Tensor]:
        """Success in [0, 1] and the time [s] at which the stance was first held."""
        success = (self._buffers["upright_time"] >= HOLD).float()
        return {"success": success, "time_to_stand": self._buffers["first_up"]} | super().episode_metrics()


def make(
    config: Mapping[str, Any], *, num_worlds: int, device: Any, engine: str, num_threads: int, seed: int
) -> GetupEnv:
    """Build the task from its configuration; see :func:`envs.registry.make`."""
    return construct(GetupEnv, config, num_worlds, device, engine, num_threads, seed)
