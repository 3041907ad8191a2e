"""What every scripted expert shares: modes, noise, and the way from a planned pose to an action.

Legend: N worlds; n of them; A action elements. World frame, m and rad.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ....mdp import rotations
from ..config import AXES
from ..env import ManipulationEnv
from ..state import TableState


@dataclass
class Plan:
    """Where n hands should be.

    position: (n, 3).  yaw: (n,) of the hand.  closed: (n,) bool, fingers.  speed: (n,) or a number, the largest share
    of the action's range that the move may use.
    """

    position: Tensor
    yaw: Tensor
    closed: Tensor
    speed: Tensor | float = 1.0


class Expert(abc.ABC):
    """Acts in every row of an environment.

    Call :meth:`reset` with the rows whose episode has just started, then :meth:`act`.

    noise: standard deviation of Gaussian noise on every element of the action but the gripper, in policy units.
    mode: (N,) long, 0 or 1: which of its two ways an episode takes; drawn at reset.
    stage: (N,) long, how far a plan has come; 0 at reset.
    """

    def __init__(self, env: ManipulationEnv, noise: float = 0.0, seed: int = 0) -> None:
        if noise < 0:
            raise ValueError(f"noise={noise!r}: must not be negative")
        self.env, self.noise = env, noise
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.rows = torch.arange(env.num_rows, device=env.device)
        self.mode = torch.zeros_like(self.rows)
        self.stage = torch.zeros_like(self.rows)
        columns = torch.tensor([AXES.index(axis) for axis in env.config.axes], device=env.device)
        self._columns, self._moves = columns, columns < AXES.index("gripper")
        self.reset()

    def reset(self, rows: Tensor | None = None) -> None:
        """Draw modes for episodes that start: row indices (n,), or None for all."""
        rows = self.rows if rows is None else rows
        self.mode[rows] = torch.randint(2, (len(rows),), generator=self.generator, device=self.env.device)
        self.stage[rows] = 0
        self.begin(rows, self.env.read(rows))

    def act(self, rows: Tensor | None = None) -> Tensor:
        """Actions (n, 1, A) in policy units for these rows, or for all."""
        rows = self.rows if rows is None else rows
        state = self.env.read(rows)
        action = self._action(state, self.plan(rows, state))
        noise = self.noise * torch.randn(action.shape, generator=self.generator, device=action.device)
        return (action + noise * self._moves).clamp(-1, 1)[:, None]

    def begin(self, rows: Tensor, s: TableState) -> None:  # noqa: B027 - most experts have nothing to remember
        """expert: prepare for episodes that start; modes are drawn."""

    @abc.abstractmethod
    def plan(self, rows: Tensor, s: TableState) -> Plan:
        """expert: where the hands of these rows should be now."""

    def _action(self, s: TableState, plan: Plan) -> Tensor:
        """The action that leads there: along a straight line, no faster than the plan says."""
        c = self.env.config
        full = torch.zeros(len(plan.position), len(AXES), device=plan.position.device)
        move = (plan.position - s.target_pos) / c.position_scale
        speed = torch.as_tensor(plan.speed, device=move.device).expand(len(move))[:, None]
        full[:, :3] = move * (speed / move.abs().amax(-1, keepdim=True).clamp_min(1e-6)).clamp_max(1.0)
        full[:, 5] = rotations.wrap(plan.yaw - rotations.yaw_of(s.target_rot)) / c.rotation_scale
        full[:, 6] = 1.0 - 2.0 * plan.closed.float()
        return full[:, self._columns].clamp(-1, 1)


def level_error(a: Tensor, b: Tensor) -> Tensor:
    """Horizontal distance, (n, 3), (n, 3) -> (n,)."""
    return (a[:, :2] - b[:, :2]).norm(dim=-1)


def raised(point: Tensor, height: float | Tensor) -> Tensor:
    """The point at another height above the table, (n, 3)."""
    z = torch.as_tensor(height, dtype=point.dtype, device=point.device).expand(len(point))
    return torch.cat([point[:, :2], z[:, None]], dim=-1)


def pick(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Rows of a where the condition (n,) holds, else of b."""
    return torch.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)
