"""A two-joint robot that exists in no simulator, and agents for it with weights that matter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

import policies
from embodied.normalize import ObsNormalizer
from embodied.types import ActionSpec, ObsGroup, ObsTerm, RobotSpec, TaskSpec
from envs.chunking import chunked_spec
from sim2real.recording import Recording
from tests.policies.generative.models import SMALL, disturb

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

SIZES: dict[str, dict[str, Any]] = {"mlp": {"hidden": (16, 8)}, "gru": {"hidden": (8,), "memory_size": 12}}


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
        history, size = (1, *self.spec.obs["policy"].shape)[-2:]
        start = rng.random((steps, rows)) < 0.05
        start[0] = True
        return Recording(rng.normal(1.0, 3.0, (steps, rows, history, size)).astype(np.float32), start)


def make_agent(
    kind: str, seed: int, chunk: int = 1, history: int = 1, spec: TaskSpec | None = None, **config: Any
) -> Agent:
    """Untrained, but with weights that matter; ``config`` is a generative policy's, whose networks are small.

    spec: of a task; None: the toy's, with this chunk and history.
    """
    torch.manual_seed(seed)
    spec = chunked_spec(make_spec(), chunk, history) if spec is None else spec
    policy: Any = policies.make({"kind": kind, **SIZES.get(kind, SMALL), **config}, spec)
    if kind in SIZES:
        policy.actor[-1].weight.data.mul_(100.0)
    else:
        disturb(policy, 0.1)
    normalizer = ObsNormalizer.of(spec)
    shape = {name: spec.obs[name].shape for name in ("policy", "critic")}
    normalizer.accumulate(
        {"policy": 1 + 3 * torch.randn(200, *shape["policy"]), "critic": torch.randn(200, *shape["critic"])}
    )
    normalizer.commit()
    return Agent(policy, normalizer, spec)
