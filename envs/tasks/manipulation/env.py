"""What every tabletop task shares: the arm, its delta control, observations, sparse or dense reward.

A task subclasses :class:`ManipulationEnv`, names its objects, adds them to the scene, and says where they start, when
it is solved and how far it has come. Legend: N worlds; n of them; K objects; G goal numbers.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import torch
from torch import Tensor

from embodied.configuration import from_mapping
from embodied.types import Obs, ObsGroup, ObsTerm, TaskSpec

from ...mdp import rotations
from ...mdp.buffers import Buffers
from ...mdp.kinematics import SerialArm
from ...mujoco.physics import Physics
from ...mujoco.vec_env import MujocoVecEnv
from ...robots.panda import Arm
from .config import ManipulationConfig
from .control import HandControl
from .objects import ObjectRandomizer, parse_laws
from .state import TableState

Term = tuple[Tensor, str, str]
"""Value (n, size), unit, frame."""

DOWN = (1.0, -1.0, -1.0)
"""Diagonal of the hand's first orientation: fingers down, their motion along the world's y."""


class ManipulationEnv(MujocoVecEnv):
    """N worlds of one arm at a table.

    objects: the free bodies, in the order of TableState.  goal_size: G.  options_type: the dataclass of
    ``config.options``.  remembers: further buffers, name -> shape of one world's value.
    """

    objects: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    goal_size: ClassVar[int] = 3
    options_type: ClassVar[type]

    # What a task fills in ------------------------------------------------------------------------------------

    @classmethod
    @abc.abstractmethod
    def build(cls, spec: mujoco.MjSpec, options: Any) -> None:
        """task: add objects, fixtures and the goal marker to the table."""

    @abc.abstractmethod
    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """task: where n episodes start: object poses (n, K, 7) as MuJoCo orders them, and goals (n, G)."""

    @abc.abstractmethod
    def success(self, s: TableState) -> Tensor:
        """task: (n,) bool, solved; ends the episode."""

    @abc.abstractmethod
    def progress(self, s: TableState) -> Tensor:
        """task: (n,) in [0, 1], the potential of the dense reward; continuous, 1 where the task is solved."""

    @abc.abstractmethod
    def task_terms(self, s: TableState) -> dict[str, Term]:
        """task: what the policy observes besides the arm."""

    def marker(self, goal: Tensor) -> tuple[Tensor, Tensor]:
        """task: where the marker shows a goal (G,): position (3,), quaternion (4,). By default the goal is a point."""
        return goal, goal.new_tensor([1.0, 0.0, 0.0, 0.0])

    # Construction --------------------------------------------------------------------------------------------

    def __init__(self, config: ManipulationConfig, arm: Arm, physics: Physics, seed: int = 0) -> None:
        super().__init__(physics, substeps=config.substeps, seed=seed)
        self.config, self.arm = config, arm
        self.options: Any = from_mapping(self.options_type, config.options, "task.options")
        self._qpos, self._qvel, self._ctrl = (physics.field(name) for name in ("qpos", "qvel", "ctrl"))
        names = arm.spec.joint_names
        self.chain = SerialArm(physics.model, names, arm.hand_site, self.device)
        self.control = HandControl(config, arm, self.chain, self.device)
        self.randomizer = ObjectRandomizer(parse_laws(config.randomization), physics, self.objects)
        self._home = torch.tensor(arm.spec.default_joint_pos, device=self.device)
        shapes: dict[str, tuple[int, ...]] = {
            "joint_target": (len(names),),
            "target_pos": (3,),
            "target_rot": (3, 3),
            "fingers": (),  # m, asked of each
            "goal": (self.goal_size,),
            **{"friction": (), "mass_scale": (), "progress": (), "solved": ()},
            **self.remembers,
        }
        self._buffers = Buffers(shapes, self.num_worlds, self.device)
        self._buffers["target_rot"].copy_(torch.diag(self._home.new_tensor(DOWN)))
        self._state = self.read(torch.arange(self.num_worlds, device=self.device))
        self.spec = self._make_spec()

    def _make_spec(self) -> TaskSpec:
        one = torch.arange(1, device=self.device)
        groups = {
            name: ObsGroup.of(
                *(ObsTerm(key, value.shape[-1], unit, frame) for key, (value, unit, frame) in terms.items())
            )
            for name, terms in self._terms(self.read(one), self.episode_length[one]).items()
        }
        c = self.config
        return TaskSpec(
            name=c.name,
            control_dt=c.control_dt,
            physics_dt=c.physics_dt,
            horizon=c.horizon,
            obs=groups,
            action=self.control.spec,
            success_metric="success",
            robot=self.arm.spec,
        )

    # A step --------------------------------------------------------------------------------------------------

    def apply_action(self, action: Tensor) -> None:
        """Move the hand's target, the joints' targets after it, and the fingers."""
        command, parts = self.control.command(action), self.config.ik_steps
        command[:, :6] /= parts
        for _ in range(parts):
            self._move(command)
            self.physics.step(self.substeps // parts)

    def _move(self, command: Tensor) -> None:
        """Set the controls after a move of the target (n, 7)."""
        b = self._buffers
        hand = self.chain(self._qpos[:, : len(self._home)].float())
        position, rotation = self.control.move_target(b["target_pos"], b["target_rot"], command, hand)
        b["target_pos"].copy_(position)
        b["target_rot"].copy_(rotation)
        b["joint_target"].copy_(self.control.follow(b["joint_target"], position, rotation))
        b["fingers"].copy_(command[:, 6])
        self._ctrl.copy_(torch.cat([b["joint_target"], b["fingers"][:, None].expand(-1, 2)], dim=-1))

    def after_physics(self) -> None:
        """The state of this step, and whether it solves the task."""
        self._state = self.read()
        self._buffers["solved"].copy_(self.success(self._state))

    def read(self, worlds: Tensor | None = None) -> TableState:
        """The state of these worlds, or of all."""
        at = slice(None) if worlds is None else worlds
        b = self._buffers if worlds is None else self._buffers.rows(worlds)
        qpos, qvel = self._qpos[at].float(), self._qvel[at].float()
        arm, rows = len(self._home), len(qpos)
        hand_pos, hand_rot, jacobian = self.chain.jacobian(qpos[:, :arm])
        poses = qpos[:, arm + 2 :].unflatten(-1, (len(self.objects), 7))
        twists = (
            qvel[:, arm + 2 :].unflatten(-1, (len(self.objects), 6)) if self.objects else qvel.new_zeros(rows, 0, 6)
        )
        return TableState(
            joint_pos=qpos[:, :arm],
            joint_vel=qvel[:, :arm],
            finger_pos=qpos[:, arm : arm + 2],
            finger_vel=qvel[:, arm : arm + 2],
            hand_pos=hand_pos,
            hand_rot=hand_rot,
            hand_vel=(jacobian @ qvel[:, :arm, None])[..., 0],
            target_pos=b["target_pos"],
            target_rot=b["target_rot"],
            object_pos=poses[..., :3],
            object_rot=rotations.from_quat(poses[..., 3:]),
            object_lin_vel=twists[..., :3],
            object_ang_vel=twists[..., 3:],
            goal=b["goal"],
            friction=b["friction"],
            mass_scale=b["mass_scale"],
        )

    def reward(self) -> Tensor:
        """1 at success; with ``dense`` also what the step gained in progress."""
        solved = self._buffers["solved"].clone()
        if self.config.reward == "sparse":
            return solved
        before = self._buffers["progress"].clone()
        self._buffers["progress"].copy_(self.progress(self._state))
        return solved + self._buffers["progress"] - before

    def terminated(self) -> Tensor:
        """The task is solved, or its deadline is over."""
        return (self._buffers["solved"] > 0) | self.late()

    def late(self) -> Tensor:
        """(N,) bool: past the deadline; never without one."""
        return (self.episode_length >= self.config.horizon) & self.config.deadline

    # Observations --------------------------------------------------------------------------------------------

    def observe(self, worlds: Tensor | None = None) -> Obs:
        """Groups of all worlds, or of these just after their reset."""
        state = self._state if worlds is None else self.read(worlds)
        length = self.episode_length if worlds is None else self.episode_length[worlds]
        groups = self._terms(state, length)
        return {name: torch.cat([value for value, *_ in terms.values()], -1) for name, terms in groups.items()}

    def _terms(self, s: TableState, length: Tensor) -> dict[str, dict[str, Term]]:
        """The terms of each group; length: (n,) control steps since the episode began."""
        policy: dict[str, Term] = {
            "joint_pos": (s.joint_pos, "rad", "joint"),
            "opening": (s.opening[:, None], "m", "-"),
            "hand_pos": (s.hand_pos, "m", "world"),
            "hand_rot": (rotations.six(s.hand_rot), "1", "world"),
            "hand_lead": (s.target_pos - s.hand_pos, "m", "world"),
            **self.task_terms(s),
        }
        critic: dict[str, Term] = {
            **policy,
            "joint_vel": (s.joint_vel, "rad/s", "joint"),
            "finger_vel": (s.finger_vel, "m/s", "joint"),
            "hand_vel": (s.hand_vel, "m/s, rad/s", "world"),
        }
        if self.config.deadline:
            critic["time_left"] = ((self.config.horizon - length[:, None]) * self.config.control_dt, "s", "-")
        if self.objects:
            critic["object_lin_vel"] = (s.object_lin_vel.flatten(1), "m/s", "world")
            critic["object_ang_vel"] = (s.object_ang_vel.flatten(1), "rad/s", "object")
            critic["friction"] = (s.friction[:, None], "1", "-")
            critic["mass_scale"] = (s.mass_scale[:, None], "1", "-")
        return {"policy": policy, "critic": critic}

    def episode_metrics(self) -> dict[str, Tensor]:
        """Success in [0, 1], and how far the task came."""
        return {"success": self._buffers["solved"], "progress": self.progress(self._state)}

    # Reset ---------------------------------------------------------------------------------------------------

    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """The arm near its home with open fingers, the objects and the goal where the task puts them."""
        n, arm = len(worlds), len(self._home)
        noise = self.config.start_noise
        joints = self._home + self.uniform(n, -noise, noise, arm)
        poses, goal = self.draw(n)
        fresh = self._buffers.blank(n)
        fresh["joint_target"].copy_(joints)
        fresh["target_pos"].copy_(self.chain(joints)[0])
        fresh["target_rot"].copy_(torch.diag(joints.new_tensor(DOWN)))
        fresh["goal"].copy_(goal)
        friction, mass_scale = self.randomizer.draw(worlds, self.generator)
        fresh["friction"].copy_(friction)
        fresh["mass_scale"].copy_(mass_scale)
        fingers = joints.new_full((n, 2), self.first_opening)
        qpos = torch.cat([joints, fingers, poses.flatten(1)], dim=-1)
        self._buffers.put(worlds, fresh)
        return qpos, torch.zeros(n, self.physics.model.nv, device=self.device)

    @property
    def first_opening(self) -> float:
        """Where each finger starts [m]: open, or closed if the action cannot move the fingers."""
        return self.arm.finger_travel if "gripper" in self.config.axes else 0.0

    def _start(self, worlds: Tensor) -> None:
        super()._start(worlds)
        if len(worlds) == self.num_worlds:
            self._state = self.read()
        if self.config.reward == "dense" and len(worlds):
            self._buffers["progress"][worlds] = self.progress(self.read(worlds))

    # Looks and continuation ----------------------------------------------------------------------------------

    def get_model_data(self, row: int = 0) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world to look at, with the marker at its goal."""
        model, data = super().get_model_data(row)
        if model.nmocap:
            position, quat = self.marker(self._buffers["goal"][row])
            data.mocap_pos[0], data.mocap_quat[0] = position.cpu().numpy(), quat.cpu().numpy()
            mujoco.mj_forward(model, data)
        return model, data

    def task_state(self) -> dict[str, Any]:
        """Targets, goals and draws."""
        return {"buffers": self._buffers.matrix.clone()}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`task_state`."""
        self._buffers.load(state["buffers"])
        self._state = self.read()
