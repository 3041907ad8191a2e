"""Push-T: slide a T-shaped block into a pose on the table with the closed fingers.

After the task of Florence et al. 2021 (Implicit Behavioral Cloning) and Chi et al. 2023 (Diffusion Policy): success is
an overlap of at least 90 % of the T's area. Here the fingers may also be lifted over the block.
The T's frame lies in its centre of mass: the bar along x, the stem along -y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from embodied.configuration import positive, within

from ...mdp import frames, rotations
from . import layout
from .env import ManipulationEnv, Term
from .scene import RED, add_boxes, add_marker
from .state import TableState, closeness

WIDTH = 0.04  # m, of bar and stem
BAR, STEM = 4 * WIDTH, 3 * WIDTH  # m, lengths
_CENTRE = (BAR * WIDTH / 2 - STEM * STEM / 2) / (BAR + STEM)  # m, centre of mass above the joint of bar and stem
RECTANGLES = (
    ((0.0, WIDTH / 2 - _CENTRE), (BAR / 2, WIDTH / 2)),
    ((0.0, -STEM / 2 - _CENTRE), (WIDTH / 2, STEM / 2)),
)
"""Bar and stem: (centre, half sizes) [m]."""


@dataclass(frozen=True)
class PushTOptions:
    """goal: x, y [m] and yaw [rad] of the T.  distance: m from the start to the goal, (least, most).  turn: half-range
    [rad] of the start's yaw about the goal's.  overlap: share of the T's area that has to cover the goal.
    half_height: m.  mass: kg."""

    goal: tuple[float, float, float] = (0.5, 0.0, -math.pi / 4)
    distance: tuple[float, float] = (0.05, 0.12)
    turn: float = math.pi
    overlap: float = 0.9
    half_height: float = 0.02
    mass: float = 0.2

    def __post_init__(self) -> None:
        within("task.options.overlap", self.overlap, 0.0, 1.0)
        for name in ("half_height", "mass"):
            positive(f"task.options.{name}", getattr(self, name))


class PushTEnv(ManipulationEnv):
    """N worlds of push-T. The goal is a pose (3,): x, y, yaw."""

    objects = ("tee",)
    options_type = PushTOptions
    options: PushTOptions

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: PushTOptions) -> None:
        tall = [((*centre, 0.0), (*half, options.half_height)) for centre, half in RECTANGLES]
        add_boxes(spec, "tee", tall, options.mass, RED)
        add_marker(spec, [((*centre, 0.0), (*half, 0.0005)) for centre, half in RECTANGLES])

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        o = self.options
        goal = torch.tensor(o.goal, device=self.device).expand(n, 3)
        distance, angle = self.uniform(n, *o.distance, 1), self.uniform(n, -math.pi, math.pi, 1)
        start = goal[:, :2] + distance * torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)
        yaw = goal[:, 2] + self.uniform(n, -o.turn, o.turn)
        return layout.pose(layout.on_table(start, o.half_height), yaw)[:, None], goal

    def overlap(self, s: TableState) -> Tensor:
        """Share of the T's area that covers the goal, (n,)."""
        yaw = rotations.yaw_of(s.object_rot[:, 0])
        return overlap(torch.cat([s.object_pos[:, 0, :2], yaw[:, None]], dim=-1), s.goal)

    def success(self, s: TableState) -> Tensor:
        return (self.overlap(s) >= self.options.overlap) & s.object_still()

    def progress(self, s: TableState) -> Tensor:
        return 0.1 * closeness((s.object_pos[:, 0] - s.hand_pos).norm(dim=-1), 0.2) + 0.9 * self.overlap(s)

    def task_terms(self, s: TableState) -> dict[str, Term]:
        tee = s.object_pos[:, 0]
        turn = s.goal[:, 2] - rotations.yaw_of(s.object_rot[:, 0])
        return {
            "hand_to_tee": (tee - s.hand_pos, "m", "world"),
            "tee_rot": (rotations.six(s.object_rot[:, 0]), "1", "world"),
            "tee_to_goal": (s.goal[:, :2] - tee[:, :2], "m", "world"),
            "turn_to_goal": (torch.stack([torch.cos(turn), torch.sin(turn)], dim=-1), "1", "cos, sin"),
        }

    def episode_metrics(self) -> dict[str, Tensor]:
        return super().episode_metrics() | {"overlap": self.overlap(self._state)}

    def marker(self, goal: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([goal[:2], goal.new_zeros(1)]), frames.from_yaw(goal[2])


def overlap(pose: Tensor, goal: Tensor) -> Tensor:
    """Share of a T's area that covers a T at another pose; poses x, y [m], yaw [rad], (n, 3), (n, 3) -> (n,)."""
    turn = rotations.about_z(pose[:, 2] - goal[:, 2])[:, :2, :2]
    shift = (rotations.about_z(goal[:, 2])[:, :2, :2].mT @ (pose - goal)[:, :2, None])[..., 0]
    area = torch.zeros_like(pose[:, 0])
    for centre, half in RECTANGLES:
        corners = pose.new_tensor(centre) + pose.new_tensor(half) * pose.new_tensor(
            [[1, 1], [-1, 1], [-1, -1], [1, -1]]
        )
        corners = corners @ turn.mT + shift[:, None]
        for other, extent in RECTANGLES:
            area = area + area_in_rectangle(corners - pose.new_tensor(other), extent)
    return area / (WIDTH * (BAR + STEM))


def area_in_rectangle(polygon: Tensor, half: tuple[float, float]) -> Tensor:
    """Area of convex counter-clockwise polygons (n, V, 2) inside the rectangle +-half, (n,).

    Each edge is cut where it crosses the rectangle's lines, and what is outside is laid onto them, where it encloses
    nothing; what remains is the intersection.
    """
    for axis in (0, 1):
        edge = polygon.roll(-1, dims=1) - polygon
        along = edge[..., axis]
        along = torch.where(along.abs() < 1e-9, 1e-9, along)
        cuts = [((sign * half[axis] - polygon[..., axis]) / along).clamp(0, 1) for sign in (-1, 1)]
        first, second = torch.minimum(*cuts), torch.maximum(*cuts)
        points = [polygon, polygon + first[..., None] * edge, polygon + second[..., None] * edge]
        polygon = torch.stack(points, dim=2).flatten(1, 2)
        limits = polygon.new_tensor([half[axis] if column == axis else math.inf for column in (0, 1)])
        polygon = polygon.clamp(-limits, limits)
    x, y = polygon.unbind(-1)
    return 0.5 * (x * y.roll(-1, dims=1) - x.roll(-1, dims=1) * y).sum(-1)
