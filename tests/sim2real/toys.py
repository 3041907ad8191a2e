"""A two-joint robot that exists in no simulator, and agents for it with weights that matter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import policies
from embodied.normalize import ObsNormalizer
from embodied.types import ActionSpec, ObsGroup, ObsTerm, RobotSpec, TaskSpec
from sim2real.recording import Recording

ROBOT = RobotSpec(
    name="twin",
    joint_names=("hip", "knee"),
    default_joint_pos=(0.1, -1.5),
    joint_low=(-1.0, -2.0),
    joint_high=(1.0, -0.5),
    torque_limit=(20.0, 30.0),
    velocity_limit=(30.0, 20.0),
    kp=(35.0, 40.0),
    kd=(0.5, 0.75),
    sdk_index=(1, 0),
    base_height=0.3,
    total_mass=5.0,
    sources={"gains": "made up"},
)


def make_spec(**changes: Any) -> TaskSpec:
    """Terms of every kind the runtime knows: given, scaled, previous action, clock."""
    clock = {"frequency": 2.0, "offset": 0.25, "dead_band": 0.1, "settle_s": 0.0}
    policy = ObsGroup.of(
        ObsTerm("joint_pos", 2, "rad", "joint", names=ROBOT.joint_names),
        ObsTerm("joint_vel", 2, "rad/s", "joint", scale=0.05, noise=0.5, names=ROBOT.joint_names),
        ObsTerm("command", 1, "m/s", "base"),
        ObsTerm("last_action", 2, names=ROBOT.joint_names),
        ObsTerm("gait_clock", 2, parameters=clock),
    )
    action = ActionSpec(
        names=ROBOT.joint_names,
        unit="rad",
        kind="joint_position",
        offset=ROBOT.default_joint_pos,
        scale=(0.25, 0.5),
        low=-3.0,
        high=3.0,
        command_low=ROBOT.joint_low,
        command_high=ROBOT.joint_high,
    )
    obs = {"policy": policy, "critic": ObsGroup.of(ObsTerm("mass", 3, "kg"))}
    spec = TaskSpec("twin_walk", 0.02, 500, obs, action, physics_dt=0.005, robot=ROBOT)
    return replace(spec, command={"forward": (-0.5, 1.0)}, **changes)


@dataclass
class Agent:
    """A policy with its normaliser and task."""

    policy: Any
    normalizer: Any
    spec: TaskSpec

    def recording(self, steps: int = 16, rows: int = 32, seed: int = 0) -> Recording:
        """Draws in place of a rollout: 16 x 32 observations, some steps in mid-episode."""
        rng = np.random.default_rng(seed)
        size = self.spec.obs["policy"].shape[0]
        start = rng.random((steps, rows)) < 0.05
        start[0] = True
        return Recording(rng.normal(1.0, 3.0, (steps, rows, size)).astype(np.float32), start)


def make_agent(kind: str, seed: int) -> Agent:
    """Untrained, but with a last layer that is large enough to matter."""
    torch.manual_seed(seed)
    spec = make_spec()
    choices: dict[str, dict[str, Any]] = {"mlp": {"hidden": (16, 8)}, "gru": {"hidden": (8,), "memory_size": 12}}
    sizes = choices[kind]
    policy: Any = policies.make({"kind": kind, **sizes}, spec)
    policy.actor[-1].weight.data.mul_(100.0)
    normalizer = ObsNormalizer.of(spec)
    normalizer.accumulate({"policy": 1.0 + 3.0 * torch.randn(200, 9), "critic": torch.randn(200, 3)})
    normalizer.commit()
    return Agent(policy, normalizer, spec)
