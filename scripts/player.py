"""One world of a task with a trained policy in it, one step at a time: what films, windows and browsers show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from embodied.text import decode_text
from embodied.types import StepResult, VecEnv

from .common import Agent
from .config import UserError

if TYPE_CHECKING:
    import mujoco

SMOOTHING_S = 0.3
"""Time constant of the shown velocities: the trunk sways with every step, which is not what a command is about."""

WORDS = {"lin_vel_x": ("forward", "m/s"), "lin_vel_y": ("left", "m/s"), "ang_vel_z": ("yaw rate", "rad/s")}


class Player:
    """A policy that takes its most likely action in world 0 of an environment.

    command: what was asked for, name -> value; empty for a task without commands.
    measured: the same quantities as they are, smoothed; empty where they cannot be read from the simulation.
    """

    def __init__(self, env: VecEnv, agent: Agent, seed: int = 0) -> None:
        if agent.spec.obs["policy"].shape != env.spec.obs["policy"].shape:
            raise UserError(
                f"the policy was trained on {agent.spec.name} and sees {agent.spec.obs['policy'].shape[0]} values; "
                f"{env.spec.name} gives {env.spec.obs['policy'].shape[0]}"
            )
        self.env, self.agent, self.spec = env, agent, env.spec
        self.commandable = bool(env.spec.command) and hasattr(getattr(env, "command", None), "fix")
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self._obs = self.env.reset(seed)
        self._memory = self.agent.policy.initial_memory(self.env.num_rows)
        self.steps, self.control_steps, self.ended, self.fallen, self.reward = 0, 0, 0, 0, 0.0
        self._velocity: np.ndarray | None = None

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return self.control_steps * self.spec.control_dt / self.spec.action.chunk

    def ask(self, values: Sequence[float] | None) -> None:
        """Hold the command at these values, in the order of ``spec.command``; None lets the task draw."""
        if not self.commandable:
            raise UserError(f"{self.spec.name} takes no command")
        if values is not None and len(values) != len(self.spec.command):
            raise UserError(f"command={list(values)}: {self.spec.name} takes {', '.join(self.spec.command)}")
        self._command.fix(None if values is None else list(values))

    @property
    def instruction(self) -> str:
        """What the robot was told in words; empty where a task has none."""
        words = self._obs.get("instruction")
        return "" if words is None else decode_text(words)[0]

    @property
    def _command(self) -> Any:
        return self.env.command  # type: ignore[attr-defined]

    @property
    def command(self) -> dict[str, float]:
        if not self.commandable:
            return {}
        return dict(zip(self.spec.command, self._command.value[0].tolist(), strict=True))

    @torch.no_grad()
    def step(self, watch: Callable[[], None] | None = None) -> StepResult:
        """Advance one decision; ``watch`` is called between the control steps of a chunk, as far as it is executed."""
        agent = self.agent
        decision = agent.policy.act(agent.see(self._obs), self._memory, deterministic=True)
        result = self._carry_out(decision.action, watch)
        self._obs, self._memory = result.obs, decision.memory
        self.steps += 1
        self.reward += float(result.reward[0])
        if bool(result.done[0]):
            self._end(result)
        else:
            self._measure()
        return result

    def _carry_out(self, action: Tensor, watch: Callable[[], None] | None) -> StepResult:
        env, begin = cast(Any, self.env), self.control_steps

        def seen(step: int, running: Tensor) -> None:
            self.control_steps = begin + step
            if watch is not None and bool(running[0]):
                watch()

        if self.spec.action.chunk > 1:
            env.watch = seen
        result: StepResult = env.step(action)
        self.control_steps = begin + (1 if result.steps is None else int(result.steps[0]))
        return result

    def _end(self, result: StepResult) -> None:
        self.ended += 1
        self.fallen += int(self._fell(result))
        fresh = self.agent.policy.initial_memory(self.env.num_rows)
        done = result.done
        self._memory = {k: torch.where(done.reshape(-1, *(1,) * (v.dim() - 1)), fresh[k], v)
                        for k, v in self._memory.items()}  # fmt: skip
        self._velocity = None

    def _fell(self, result: StepResult) -> bool:
        """Whether the episode ended by a fall: the task says so, or has nothing but falls to end by."""
        if "fall" in result.metrics:
            return bool(result.metrics["fall"][0] > 0)
        return self.spec.success_metric is None and bool(result.terminated[0])

    def pose(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """The world as MuJoCo structures, to be drawn."""
        source = getattr(self.env, "get_model_data", None)
        if source is None:
            raise UserError(f"{self.spec.name} is no MuJoCo task; only viewer=none and video=... can show it")
        return source(0)

    def scene(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """As :meth:`pose`, for a film: of a large terrain the part around the robot, another model as it walks on."""
        source = getattr(self.env, "to_draw", None)
        return self.pose() if source is None else source(0)

    @property
    def measured(self) -> dict[str, float]:
        if self._velocity is None or not self.commandable:
            return {}
        return dict(zip(self.spec.command, self._velocity.tolist(), strict=False))

    def _measure(self) -> None:
        if not self.commandable or len(self.spec.command) != 3 or not hasattr(self.env, "physics"):
            return
        physics = self.env.physics
        now = planar_velocity(physics.field("qpos")[0].cpu().numpy(), physics.field("qvel")[0].cpu().numpy())
        share = 1.0 if self._velocity is None else min(1.0, self.spec.control_dt / SMOOTHING_S)
        before = now if self._velocity is None else self._velocity
        self._velocity = before + share * (now - before)


def in_words(command: str) -> tuple[str, str]:
    """Name and unit of a command for people."""
    return WORDS.get(command, (command, ""))


def planar_velocity(qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
    """Forward and left velocity [m/s] and yaw rate [rad/s] in the base frame, of a free joint's state."""
    w, axis = qpos[3], qpos[4:7]
    lin = qvel[:3]
    # v' = R(q)^T v: rotate by the conjugate quaternion.
    t = 2.0 * np.cross(-axis, lin)
    base = lin + w * t + np.cross(-axis, t)
    return np.array([base[0], base[1], qvel[5]])


def tour(limits: Mapping[str, tuple[float, float]]) -> list[tuple[float, str, list[float]]]:
    """A round of commands that shows what a policy can do: (seconds, caption, values) each.

    For (forward, left, yaw rate): walk, turn while walking, sideways, turn on the spot, back. For other commands:
    each to its two ends.
    """
    low, high = ([limit[i] for limit in limits.values()] for i in (0, 1))
    if list(limits) != ["lin_vel_x", "lin_vel_y", "ang_vel_z"]:
        ends = [(name, [pick[j] if j == i else 0.0 for j in range(len(low))])
                for i, name in enumerate(limits) for pick in (high, low)]  # fmt: skip
        return [(1.0, "rest", [0.0] * len(low)), *((3.0, name, values) for name, values in ends)]
    return [
        (1.0, "stand", [0.0, 0.0, 0.0]),
        (3.5, "walk", [0.5 * high[0], 0.0, 0.0]),
        (3.0, "faster", [0.95 * high[0], 0.0, 0.0]),
        (3.0, "curve", [0.5 * high[0], 0.0, 0.8 * high[2]]),
        (2.5, "sideways left", [0.0, 0.8 * high[1], 0.0]),
        (2.5, "sideways right", [0.0, 0.8 * low[1], 0.0]),
        (2.5, "turn right", [0.0, 0.0, 0.9 * low[2]]),
        (2.0, "back", [0.7 * low[0], 0.0, 0.0]),
        (1.0, "stand", [0.0, 0.0, 0.0]),
    ]
