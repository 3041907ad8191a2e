"""A SAPIEN scene as the physics of a tabletop: one world with the fields of the MuJoCo model that it stands in for.

So the task itself runs unchanged: episodes, control of the hand, observations, reward and figures are the same code.
Legend: nq, nv, nu of that model; arm (7) and fingers (2) first, then two free bodies of 7 coordinates and 6 speeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import mujoco
import torch
from torch import Tensor

from ...mdp import rotations
from ...tasks.tabletop.dressing import HIDDEN
from ...tasks.tabletop.scene import PADS, SLOTS, physics_model, sensor, slot

TOUCHING = 5e-4  # m between two surfaces; PhysX reports pairs from 2 cm on
FINGERS = dict(zip(PADS, ("panda_leftfinger", "panda_rightfinger"), strict=True))
JOINTS = 9


@cache
def model(timestep: float) -> mujoco.MjModel:
    """The tabletop's own model, for names, kinematics and the layout of the fields."""
    return physics_model(timestep)


class ScenePhysics:
    """One world; implements :class:`envs.mujoco.physics.Physics`.

    actors: the bodies of the slots that the episode uses, set by whoever builds the scene.
    """

    num_worlds, device, dtype = 1, torch.device("cpu"), torch.float32

    def __init__(self, env: Any, timestep: float) -> None:
        self.env, self.model = env, model(timestep)
        self.actors: dict[str, Any] = {}
        sizes = {name: getattr(self.model, size) for name, size in _SIZES.items()}
        self._fields = {name: torch.zeros(1, size) for name, size in sizes.items()}
        self._model_fields: dict[str, Tensor] = {}
        self._known = torch.zeros(1, self.model.nq)

    def field(self, name: str) -> Tensor:
        """qpos, qvel, ctrl or sensordata, (1, ...)."""
        return self._fields[name]

    def model_field(self, name: str) -> Tensor:
        """A copy (1, ...): the scene is built from the episode, not from the model."""
        if name not in self._model_fields:
            self._model_fields[name] = torch.tensor(getattr(self.model, name))[None]
        return self._model_fields[name]

    def step(self, substeps: int) -> None:
        """Advance the scene with the joint targets in ``ctrl``."""
        self.push()
        self.env.agent.controller.set_action(self._fields["ctrl"])
        for _ in range(substeps):
            before = self.env.agent.robot.get_qpos()
            self.env.scene.step()
        self.read(before)

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Put robot and objects there, at rest."""
        self._fields["qpos"].copy_(qpos)
        self._fields["qvel"].copy_(qvel)
        self._fields["sensordata"].zero_()
        self.env.agent.robot.set_qpos(self._fields["qpos"][:, :JOINTS])
        self.env.agent.robot.set_qvel(self._fields["qvel"][:, :JOINTS])
        self._known.fill_(torch.nan)
        self.push()

    def push(self) -> None:
        """Move the objects whose coordinates were written to since they were read."""
        from mani_skill.utils.structs.pose import Pose

        qpos, qvel = self._fields["qpos"], self._fields["qvel"]
        for i in range(SLOTS):
            actor, (at, speed) = self.actors.get(slot("object", i)), _columns(i)
            if actor is not None and not torch.equal(qpos[:, at], self._known[:, at]):
                actor.set_pose(Pose.create(qpos[:, at].clone()))
                actor.set_linear_velocity(qvel[:, speed][:, :3])
                actor.set_angular_velocity(_turned(qpos[:, at], qvel[:, speed][:, 3:], to_world=True))
        self._known.copy_(qpos)

    def read(self, before: Tensor) -> None:
        """Bring the fields up to date; before: (1, 9) joint positions a physics step ago.

        Speeds of joints are differences: by PhysX's account fingers that stand still on an object move at 5 cm/s.
        """
        qpos, qvel, robot = self._fields["qpos"], self._fields["qvel"], self.env.agent.robot
        qpos[:, :JOINTS] = robot.get_qpos()
        qvel[:, :JOINTS] = (qpos[:, :JOINTS] - before) / self.model.opt.timestep
        for i in range(SLOTS):
            actor, (at, speed) = self.actors.get(slot("object", i)), _columns(i)
            if actor is None:
                qpos[0, at] = torch.tensor([*HIDDEN, 1.0, 0.0, 0.0, 0.0])
                continue
            qpos[:, at] = actor.pose.raw_pose
            spin = _turned(actor.pose.raw_pose, actor.angular_velocity, to_world=False)
            qvel[:, speed] = torch.cat([actor.linear_velocity, spin], dim=-1)
        self._known.copy_(qpos)
        self._feel()

    def _feel(self) -> None:
        """Which bodies touch: 1 or 0 where MuJoCo has the number of contacts."""
        data, touching = self._fields["sensordata"], self._touching()
        for thing in (slot("object", i) for i in range(SLOTS)):
            for other in (*PADS, *(slot("receptacle", i) for i in range(SLOTS))):
                column = int(self.model.sensor(sensor(thing, other)).adr[0])
                data[0, column] = float(frozenset((thing, other)) in touching)

    def _touching(self) -> set[frozenset[str]]:
        entities = {actor._objs[0].per_scene_id: name for name, actor in self.actors.items()}
        links = self.env.agent.robot.links_map
        entities |= {links[link]._objs[0].entity.per_scene_id: pad for pad, link in FINGERS.items()}
        pairs = set()
        for contact in self.env.scene.px.get_contacts():
            names = [entities.get(body.entity.per_scene_id) for body in contact.bodies]
            if None not in names and any(point.separation < TOUCHING for point in contact.points):
                pairs.add(frozenset(names))
        return pairs  # type: ignore[return-value]

    def set_const(self, worlds: Tensor | None = None) -> None:
        """Nothing derives from the model here."""

    def forward(self, worlds: Tensor | None = None) -> None:
        """Nothing is derived."""

    def failed(self) -> Tensor:
        """(1,) bool: some number is none."""
        return ~torch.isfinite(self._fields["qpos"]).all(-1)

    def failure(self, world: int) -> dict[str, Any]:
        """The state."""
        return {name: value.clone() for name, value in self._fields.items()}

    def get_model_data(self, world: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """The world as MuJoCo sees it."""
        data = mujoco.MjData(self.model)
        data.qpos[:], data.qvel[:] = self._fields["qpos"][0], self._fields["qvel"][0]
        mujoco.mj_forward(self.model, data)
        return self.model, data

    def state_dict(self) -> dict[str, Any]:
        """The fields; the scene's own state is ManiSkill's to keep."""
        return {name: value.clone() for name, value in self._fields.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse."""
        for name, value in state.items():
            self._fields[name].copy_(value)

    def close(self) -> None:
        """Nothing is held."""


_SIZES = {"qpos": "nq", "qvel": "nv", "ctrl": "nu", "sensordata": "nsensordata"}


def _columns(number: int) -> tuple[slice, slice]:
    """Of an object in qpos and in qvel."""
    return slice(JOINTS + 7 * number, JOINTS + 7 * number + 7), slice(JOINTS + 6 * number, JOINTS + 6 * number + 6)


def _turned(pose: Tensor, spin: Tensor, *, to_world: bool) -> Tensor:
    """Angular velocities (n, 3) between a body's frame, as MuJoCo has them, and the world's, as SAPIEN; pose (n, 7)."""
    rotation = rotations.from_quat(pose[:, 3:])
    return ((rotation if to_world else rotation.mT) @ spin[..., None])[..., 0]
