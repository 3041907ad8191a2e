"""Velocity tracking: follow a commanded planar velocity and yaw rate, on flat or generated ground.

Start: near the stance, random heading, small random velocities. End: a fall (tilt or height), or 20 s.
Success: the episode ran to its horizon without a fall.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...mdp.frames import from_yaw
from .construct import construct
from .legged import LeggedEnv


class VelocityEnv(LeggedEnv):
    """N robots that follow commands; see :class:`LeggedEnv`."""

    initial_keys = ("position", "yaw", "velocity", "joint")

    own_buffers: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "errors": (4,),  # sums: |velocity error|, |yaw rate error|, peak heights of finished swings, their number
        "swing_peak": (4,),
    }

    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """Stance at the world's origin, with the half-ranges of ``config.initial``.

        position: m, x and y.  yaw: rad.  velocity: m/s and rad/s, all of the base's.  joint: rad.
        """
        n, spread, spec = len(worlds), self.config.initial, self.robot.spec
        position = self.ground.origin(worlds)
        reach = spread.get("position", 0.0)
        offset = self.uniform(n, -reach, reach, 2)
        position[:, :2] += offset
        position[:, 2] = self._highest_ground(position[:, :2]) + spec.base_height
        self._buffers["start"][worlds] = position
        turn = spread.get("yaw", torch.pi)
        quat = from_yaw(self.uniform(n, -turn, turn))
        bend = spread.get("joint", 0.0)
        joints = self._default + self.uniform(n, -bend, bend, len(self._default))
        joints = torch.clamp(joints, self._low, self._high)
        speed = spread.get("velocity", 0.0)
        qvel = torch.zeros(n, self.physics.model.nv, device=self.device)
        qvel[:, :6] = self.uniform(n, -speed, speed, 6)
        return torch.cat([position, quat, joints], -1), qvel

    def _highest_ground(self, xy: Tensor) -> Tensor:
        """The highest ground [m] below a robot at xy (n, 2), so that no foot starts inside it."""
        return self.ground.height(xy[:, None] + self._footprint).amax(-1)

    @cached_property
    def _footprint(self) -> Tensor:
        """(P, 2) m: a grid over all that a robot stands on, whatever its heading."""
        reach = torch.linspace(-0.3, 0.3, 7, device=self.device)
        return torch.cartesian_prod(reach, reach)

    def after_physics(self) -> None:
        """Accumulate the tracking errors of the episode."""
        super().after_physics()
        s, errors = self._state, self._buffers["errors"]
        peak = self._buffers["swing_peak"]
        swung, swings = (peak * s.landed).sum(-1), s.landed.sum(-1, dtype=torch.float32)
        errors += torch.stack([s.lin_vel_error_sq.sqrt(), s.yaw_rate_error.abs(), swung, swings]).t()
        torch.maximum(peak, s.foot_height, out=peak)
        peak.masked_fill_(s.contact, 0.0)

    def episode_metrics(self) -> dict[str, Tensor]:
        """Figures of the episodes.

        error_lin_vel: mean |v_xy - command| [m/s].  error_ang_vel: mean |yaw rate - command| [rad/s].
        swing_height: mean peak height of a foot between lift-off and touch-down [m]; NaN where no foot touched down.
        fall: on terrain, in evaluation, also by kind and level of the tile it started on.
        """
        length, fell = self.episode_length.clamp_min(1), self._buffers["ended"].float()
        errors = self._buffers["errors"]
        figures = {
            "error_lin_vel": errors[:, 0] / length,
            "error_ang_vel": errors[:, 1] / length,
            "swing_height": errors[:, 2] / errors[:, 3],  # 0 / 0 is NaN: does not apply
            "fall": fell,
            "success": 1.0 - fell,
        }
        return figures | self.ground.split("fall", fell) | super().episode_metrics()


def make(
    config: Mapping[str, Any], *, num_worlds: int, device: Any, engine: str, num_threads: int, seed: int
) -> VelocityEnv:
    """Build the task from its configuration; see :func:`envs.registry.make`."""
    return construct(VelocityEnv, config, num_worlds, device, engine, num_threads, seed)
