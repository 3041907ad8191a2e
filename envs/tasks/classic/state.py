"""What the terms of a classic task may look at, in the physics' own dtype (float64 on CPU threads)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class ClassicState:
    """N robots after a control step; joints in the model's order, forces at the last evaluation of the dynamics."""

    height: Tensor  # (N,) m, the root's vertical coordinate
    pitch: Tensor | None  # (N,) rad, of a planar root; None for a free one
    qpos: Tensor  # (N, nq)
    qvel: Tensor  # (N, nv)
    x_velocity: Tensor  # (N,) m/s, displacement along world x over the control period
    action: Tensor  # (N, A) what was applied, policy units
    contact_force: Tensor  # (N, nbody, 6) torque N m and force N on each body, clipped; empty without contact forces
    healthy: Tensor  # (N,) bool, no termination holds
