"""Peg insertion: take a square peg that stands on the table and put it into the square hole of a block."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from embodied.configuration import positive

from ...mdp import rotations
from . import layout
from .env import ManipulationEnv, Term
from .scene import WOOD, YELLOW, add_boxes
from .state import TableState, closeness

PLATE = 0.004  # m, floor of the hole
Boxes = list[tuple[tuple[float, float, float], tuple[float, float, float]]]


@dataclass(frozen=True)
class PegOptions:
    """low, high: rectangle of the starts, m, world.  distance: m between peg and hole, (least, most).  block_yaw:
    half-range [rad].  half_width, half_length: of the peg [m].  clearance: m on each side of the peg in the hole.
    block: half the block's width [m].  height: m of the block.  depth: m that the peg has to be in the hole.
    peg_mass, block_mass: kg."""

    low: tuple[float, float] = (0.40, -0.20)
    high: tuple[float, float] = (0.60, 0.20)
    distance: tuple[float, float] = (0.14, 0.30)
    block_yaw: float = 0.5
    half_width: float = 0.01
    half_length: float = 0.04
    clearance: float = 0.002
    block: float = 0.045
    height: float = 0.05
    depth: float = 0.035
    peg_mass: float = 0.05
    block_mass: float = 2.0

    def __post_init__(self) -> None:
        for name in ("half_width", "half_length", "clearance", "height", "depth", "peg_mass", "block_mass"):
            positive(f"task.options.{name}", getattr(self, name))
        if self.block <= self.half_width + self.clearance:
            raise ValueError(f"task.options.block={self.block}: the hole does not fit into the block")
        if self.depth >= self.height - PLATE:
            raise ValueError(f"task.options.depth={self.depth}: the hole is {self.height - PLATE:g} m deep")


def block_boxes(options: PegOptions) -> Boxes:
    """A plate, and four walls round the hole; the origin is the middle of the block's underside."""
    inner, outer = options.half_width + options.clearance, options.block
    middle, half = (inner + outer) / 2, (outer - inner) / 2
    z, half_z = (PLATE + options.height) / 2, (options.height - PLATE) / 2
    return [
        ((0, 0, PLATE / 2), (outer, outer, PLATE / 2)),
        ((middle, 0, z), (half, outer, half_z)),
        ((-middle, 0, z), (half, outer, half_z)),
        ((0, middle, z), (inner, half, half_z)),
        ((0, -middle, z), (inner, half, half_z)),
    ]


class PegInsertionEnv(ManipulationEnv):
    """N worlds of peg insertion: object 0 is the peg, object 1 the block."""

    objects = ("peg", "block")
    goal_size = 0
    options_type = PegOptions
    options: PegOptions

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: PegOptions) -> None:
        peg = (options.half_width, options.half_width, options.half_length)
        add_boxes(spec, "peg", [((0, 0, 0), peg)], options.peg_mass, YELLOW)
        add_boxes(spec, "block", block_boxes(options), options.block_mass, WOOD, off_table=(1, 2, 3, 4))

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        o = self.options
        low, high = torch.tensor(o.low, device=self.device), torch.tensor(o.high, device=self.device)
        peg, block = layout.apart(low, high, o.distance, self.uniform(n, 0.0, 1.0, 32, 4))
        first = layout.pose(layout.on_table(peg, o.half_length), self.uniform(n, -math.pi / 4, math.pi / 4))
        second = layout.pose(layout.on_table(block, 0.0), self.uniform(n, -o.block_yaw, o.block_yaw))
        return torch.stack([first, second], dim=1), low.new_zeros(n, 0)

    def tip_in_block(self, s: TableState) -> Tensor:
        """The middle of the peg's lower end, from the hole's mouth, in the block's frame, (n, 3); z below 0 is in."""
        tip = s.object_pos[:, 0] - self.options.half_length * s.object_rot[:, 0, :, 2]
        local = (s.object_rot[:, 1].mT @ (tip - s.object_pos[:, 1])[..., None])[..., 0]
        local[:, 2] -= self.options.height
        return local

    def success(self, s: TableState) -> Tensor:
        tip, o = self.tip_in_block(s), self.options
        inside = tip[:, :2].abs().amax(-1) < o.half_width + o.clearance
        upright = (s.object_rot[:, 0, :, 2] * s.object_rot[:, 1, :, 2]).sum(-1) > 0.98
        return inside & upright & (tip[:, 2] < -o.depth) & s.object_still(0)

    def progress(self, s: TableState) -> Tensor:
        tip, o = self.tip_in_block(s), self.options
        to_go = torch.cat([tip[:, :2], (tip[:, 2:] + o.depth).clamp_min(0.0)], dim=-1).norm(dim=-1)
        taken = (s.object_pos[:, 0] - s.hand_pos).norm(dim=-1) < o.half_length
        held = (taken & (s.opening < 2 * o.half_width + 0.004)).float()
        reached = closeness((s.object_pos[:, 0] - s.hand_pos).norm(dim=-1), 0.1)
        return 0.15 * reached + 0.15 * held + 0.7 * held * closeness(to_go, 0.1)

    def task_terms(self, s: TableState) -> dict[str, Term]:
        peg, _ = s.object_pos.unbind(1)
        return {
            "hand_to_peg": (peg - s.hand_pos, "m", "world"),
            "peg_rot": (rotations.six(s.object_rot[:, 0]), "1", "world"),
            "peg_to_block": (s.object_pos[:, 1] - peg, "m", "world"),
            "block_rot": (rotations.six(s.object_rot[:, 1]), "1", "world"),
            "tip_in_block": (self.tip_in_block(s), "m", "block"),
        }
