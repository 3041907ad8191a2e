"""The physics that each world drew, and what the critic is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...mdp.buffers import Buffers
from ...mujoco.physics import Physics
from ...mujoco.randomization import Randomizer, parse, robot_parts
from ...robots.robot import Robot


class DrawnPhysics:
    """Domain randomisation of N legged robots.

    shapes: what is told of one world, by its name in :class:`envs.mdp.state.LeggedState`.
    link_names: of ``link_mass``.
    """

    def __init__(self, config: Mapping[str, Any], robot: Robot, physics: Physics) -> None:
        feet, joints = [f"{leg}_foot" for leg in robot.leg_names], robot.spec.joint_names
        parts = robot_parts(physics.model, "base", feet, joints, joints)
        self.link_names = tuple(physics.model.body(i).name for i in parts.links)
        self.randomizer = Randomizer(parse(config), physics, parts)
        self._friction = float(physics.model.geom(feet[0]).friction[0])
        motors, links = (len(joints),), (len(parts.links),)
        self.shapes: dict[str, tuple[int, ...]] = {
            **{"friction": (), "added_mass": (), "com_shift": (3,)},
            **{"stiffness": motors, "damping": motors, "link_mass": links},
        }

    def draw(self, worlds: Tensor, generator: torch.Generator) -> None:
        """Give these worlds new physics."""
        self.randomizer.draw(worlds, generator)

    def note(self, told: Buffers, worlds: Tensor) -> None:
        """Write what these worlds drew, nominal where nothing is drawn; told: of ``shapes``, zero at first."""
        samples = {name: sample[worlds] for name, sample in self.randomizer.samples.items()}
        told["friction"].fill_(self._friction)
        for name, sample in (("friction", "foot_friction"), ("added_mass", "base_mass"), ("com_shift", "base_com")):
            if sample in samples:
                told[name].view(len(worlds), -1).copy_(samples[sample])
        for name, scales in (
            ("stiffness", ("kp", "motor_strength")),
            ("damping", ("kd", "motor_strength")),
            ("link_mass", ("link_mass",)),
        ):
            told[name].fill_(1.0)
            for scale in scales:
                if scale in samples:
                    told[name].mul_(samples[scale])
