"""Scripted experts of ManiSkill's own tasks: they read its state, and move the arm's joints by our inverse kinematics.

Legend: N worlds; J = 7 joints of the arm. World frame, m and rad.
"""

from __future__ import annotations

import math

import mujoco
import torch
from torch import Tensor

from embodied.configuration import choice

from ..mdp import ik, rotations
from ..mdp.kinematics import SerialArm
from ..robots.panda import PANDA
from ..tasks.manipulation.env import DOWN
from ..tasks.manipulation.experts.expert import level_error, pick, raised
from ..tasks.manipulation.experts.grasp import HOVER
from .env import ManiSkillVecEnv

CONTROL = "pd_joint_delta_pos"
REACH = 0.08  # m of the way that a step goes for at most
JOINTS = 7


class PickCubeExpert:
    """``PickCube-v1``: over the cube with the fingers along its sides, down, close, and to the goal.

    It has no memory: what to do follows from where things are.

    noise: standard deviation of Gaussian noise on every joint's move, in policy units.
    """

    def __init__(self, env: ManiSkillVecEnv, noise: float = 0.0, seed: int = 0) -> None:
        if noise < 0:
            raise ValueError(f"noise={noise!r}: must not be negative")
        choice("task.obs", env.config.obs, ("state",))
        choice("task.control_mode", env.config.control_mode, (CONTROL,))
        arm = PANDA.spec
        if env.spec.action.names[:JOINTS] != arm.joint_names:
            raise ValueError(f"expert=scripted: it moves a Panda; task.kwargs.robot_uids chose {env.spec.action.names}")
        self.env, self.noise = env, noise
        self.generator = torch.Generator(env.device).manual_seed(seed)
        model = mujoco.MjModel.from_xml_path(str(PANDA.xml))
        self._chain = SerialArm(model, arm.joint_names, PANDA.hand_site, env.device)
        limits = (arm.joint_low, arm.joint_high, env.spec.action.scale[:JOINTS])
        self._low, self._high, self._step = (torch.tensor(x, device=env.device) for x in limits)

    def reset(self, rows: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self) -> Tensor:
        """Actions (N, 1, J + 1) in policy units."""
        q = self.env.term("agent_qpos")[:, :JOINTS]
        _, rotation, jacobian = self._chain.jacobian(q)
        position, yaw, closed = self.plan(rotations.yaw_of(rotation))
        target = rotations.about_z(yaw) @ torch.diag(q.new_tensor(DOWN))
        error = ik.pose_error(self._hand(), rotation, position, target)
        far = error[:, :3].norm(dim=-1, keepdim=True)
        error[:, :3] *= (REACH / far.clamp_min(1e-6)).clamp_max(1.0)
        goal = ik.step(q, jacobian, error, low=self._low, high=self._high, max_step=self._step, rest=q)
        moves = (goal - q) / self._step
        moves = moves + self.noise * torch.randn(moves.shape, generator=self.generator, device=moves.device)
        return torch.cat([moves.clamp(-1, 1), 1 - 2 * closed.float()[:, None]], -1)[:, None]

    def plan(self, now: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where hands of yaws (N,) should be: positions (N, 3), yaws (N,), and whether fingers are closed (N,)."""
        cube, hand = self.env.term("extra_obj_pose"), self._hand()
        turn = rotations.yaw_of(rotations.from_quat(cube[:, 3:]))
        spot, held = cube[:, :3], self.env.term("extra_is_grasped")[:, 0] > 0
        yaw = now + rotations.wrap(turn - now, math.pi / 2)  # the nearer pair of sides
        low = hand[:, 2] < spot[:, 2] + 0.6 * HOVER
        # What has begun is given up less easily than begun.
        turned = (yaw - now).abs() < torch.where(low, 0.2, 0.1)
        over = (level_error(hand, spot) < torch.where(low, 0.015, 0.01)) & turned
        there = over & ((hand[:, 2] - spot[:, 2]).abs() < 0.01)
        hover = raised(pick(low, hand, spot), spot[:, 2] + HOVER)
        carry = hand + self.env.term("extra_goal_pos") - spot
        position = pick(held, carry, pick(over, spot, hover))
        return position, torch.where(held, now, yaw), there | held

    def _hand(self) -> Tensor:
        return self.env.term("extra_tcp_pose")[:, :3]


EXPERTS: dict[str, type[PickCubeExpert]] = {"PickCube-v1": PickCubeExpert}


def make_expert(env: ManiSkillVecEnv, noise: float = 0.0, seed: int = 0) -> PickCubeExpert:
    """The expert of this environment's task.

    Raises:
        ValueError: it has none, or this one needs other settings of the task.
    """
    if env.config.id not in EXPERTS:
        raise ValueError(
            f"expert=scripted: task.id={env.config.id!r} has none, {', '.join(EXPERTS)} has; "
            "give a checkpoint: expert=RUN"
        )
    return EXPERTS[env.config.id](env, noise=noise, seed=seed)
