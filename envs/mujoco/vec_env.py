"""The environment loop that every MuJoCo task shares: step, fail safely, end, reset, count.

A task subclasses :class:`MujocoVecEnv` and fills in the hooks marked "task"; the same class runs on both engines.
Legend: N worlds, one row a world; n reset worlds; A action size. Times in seconds, frames as in the task's spec.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np
import torch
from torch import Tensor

from embodied.types import Obs, StepResult, TaskSpec

from . import threads
from .physics import Physics

STREAM = 0x9E3779B9
"""Added to a seed: what a policy draws after ``torch.manual_seed(seed)`` must not be the numbers of the environment."""
Schedule = Sequence[tuple[Tensor, int]]
"""Controls (N, nu) and the substeps for which each holds, one after the other."""


@runtime_checkable
class Scheduled(Protocol):
    """An engine that takes the controls of a whole period at once, and looks after its worlds once."""

    def step_schedule(self, schedule: Schedule) -> None:
        """Advance every world by the schedule; for :meth:`Physics.failure` it is one step."""


class MujocoVecEnv(abc.ABC):
    """N worlds of one task; implements :class:`embodied.types.VecEnv`.

    autoreset: rows that end are reset within the step (the default). Turned off, they stay as they ended until
        :meth:`reset_rows`; this is what Gymnasium's DISABLED mode needs.
    failures: worlds reset since construction because their physics became invalid.
    on_failure: called with a world's index before its state is thrown away, e.g. to dump it for replay.
    visual_model: makes the model to look at, when the simulated one leaves out what only looks good; both have the
        same joints.
    close_up: the model to draw a world with at these qpos (nq,), where the whole of it would take seconds a frame.
    """

    spec: TaskSpec

    def __init__(self, physics: Physics, *, substeps: int, seed: int = 0) -> None:
        self.physics = physics
        self.num_worlds = self.num_rows = physics.num_worlds
        self.device = physics.device
        self.substeps = substeps
        self.autoreset = True
        self.failures = 0
        self._broken = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        self.on_failure: Callable[[int], None] | None = None
        self.generator = torch.Generator(self.device).manual_seed(seed + STREAM)
        self.episode_length = torch.zeros(self.num_worlds, dtype=torch.long, device=self.device)
        self.episode_return = torch.zeros(self.num_worlds, device=self.device)
        self.visual_model: Callable[[], mujoco.MjModel] | None = None
        self.close_up: Callable[[Tensor], mujoco.MjModel] | None = None
        self._visual: tuple[mujoco.MjModel, mujoco.MjData] | None = None
        self._renderer: Any = None

    # The hooks a task fills in -------------------------------------------------------------------------------

    @abc.abstractmethod
    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """task: draw the start of an episode for these worlds: qpos (n, nq), qvel (n, nv)."""

    def on_reset(self, worlds: Tensor) -> None:  # noqa: B027 - a task may need nothing here
        """task: clear buffers and draw commands and randomisation for these worlds, before their state is set."""

    @abc.abstractmethod
    def apply_action(self, action: Tensor) -> None:
        """task: turn actions (N, A) into controls and advance the physics by ``self.substeps``."""

    def after_physics(self) -> None:  # noqa: B027
        """task: update timers and whatever reward and observation share, once per step."""

    @abc.abstractmethod
    def reward(self) -> Tensor:
        """task: reward of this step, (N,)."""

    @abc.abstractmethod
    def terminated(self) -> Tensor:
        """task: (N,) bool, the episode is over for good."""

    def cut_short(self) -> Tensor | None:
        """task: (N,) bool, truncate these episodes before their horizon, e.g. at the end of the ground."""
        return None

    def end_reward(self, terminated: Tensor) -> Tensor | float:
        """task: added to the reward where a termination ends the episode, (N,)."""
        return 0.0

    @abc.abstractmethod
    def observe(self, worlds: Tensor | None = None) -> Obs:
        """task: observation groups of all worlds, or of these (n, ...) just after their reset."""

    def before_observe(self) -> None:  # noqa: B027
        """task: what happens between the end of a step and the observation, e.g. new commands and pushes."""

    def episode_metrics(self) -> dict[str, Tensor]:
        """task: figures of the episodes so far, each (N,); read where a row ended."""
        return {}

    def task_state(self) -> dict[str, Any]:
        """task: buffers that a bit-exact continuation needs, beyond those of the base class."""
        return {}

    def load_task_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """task: the inverse of :meth:`task_state`."""

    # VecEnv --------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> Obs:
        """Start every world afresh; see :class:`embodied.types.VecEnv`."""
        if seed is not None:
            self.generator.manual_seed(seed + STREAM)
        worlds = torch.arange(self.num_worlds, device=self.device)
        self._start(worlds)
        return self.observe(worlds)

    def step(self, action: Tensor) -> StepResult:
        """Advance every world by one control period; action (N, 1, A) in policy units."""
        self._check_action(action)
        with threads.for_worlds(self.num_worlds):
            return self._step(action)

    def _step(self, action: Tensor) -> StepResult:
        self.apply_action(action[:, 0])
        failed = self.physics.failed()
        any_failed = bool(failed.any())
        if any_failed:
            self._count_failures(failed)
        self.episode_length += 1
        self.after_physics()
        reward = self.reward()
        terminated = self.terminated()
        reward = reward + self.end_reward(terminated)
        if any_failed:
            reward, terminated = torch.where(failed, 0.0, reward), terminated | failed
        self.episode_return += reward
        truncated = self._truncated() & ~terminated
        self.before_observe()
        final_obs = self.observe()
        if any_failed:
            final_obs = {name: torch.nan_to_num(group) for name, group in final_obs.items()}
        done = terminated | truncated
        metrics = self._metrics(failed) if bool(done.any()) else {}
        obs = self.reset_rows(done, final_obs) if metrics and self.autoreset else final_obs
        return StepResult(obs, reward, terminated, truncated, final_obs, metrics)

    def reset_rows(self, mask: Tensor, obs: Obs) -> Obs:
        """Reset the rows of a (N,) bool mask; ``obs`` with what these rows now observe in their places."""
        worlds = mask.nonzero().squeeze(-1)
        self._start(worlds)
        fresh = self.observe(worlds)
        return {name: group.index_copy(0, worlds, fresh[name]) for name, group in obs.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact continuation needs."""
        return {
            "physics": self.physics.state_dict(),
            "generator": self.generator.get_state(),
            "episode_length": self.episode_length.clone(),
            "episode_return": self.episode_return.clone(),
            "failures": self.failures,
            "task": self.task_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.physics.load_state_dict(state["physics"])
        self.generator.set_state(state["generator"].cpu())
        self.episode_length.copy_(state["episode_length"])
        self.episode_return.copy_(state["episode_return"])
        self.failures = int(state["failures"])
        self.load_task_state(state["task"])

    def render(self, row: int = 0, *, width: int = 640, height: int = 480, camera: str | int = -1) -> np.ndarray:
        """RGB frame of one world, (height, width, 3) uint8."""
        from .render import WorldRenderer

        model, data = self.to_draw(row)
        renderer = self._renderer
        if renderer is not None and (renderer.size != (width, height) or renderer.model is not model):
            renderer.close()
            self._renderer = None
        if self._renderer is None:
            self._renderer = WorldRenderer(model, width, height)
        return self._renderer.render(model, data, camera)

    def to_draw(self, row: int = 0) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """As :meth:`get_model_data`, by ``close_up`` where there is one."""
        if self.close_up is None:
            return self.get_model_data(row)
        model = self.close_up(self.physics.field("qpos")[row])
        return model, self._pose(model, mujoco.MjData(model), row)

    def get_model_data(self, row: int = 0) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world as C structures to look at: with ``visual_model``, that model in the world's pose."""
        if self.visual_model is None:
            return self.physics.get_model_data(row)
        if self._visual is None:
            model = self.visual_model()
            self._visual = model, mujoco.MjData(model)
        model, data = self._visual
        return model, self._pose(model, data, row)

    def _pose(self, model: mujoco.MjModel, data: mujoco.MjData, row: int) -> mujoco.MjData:
        data.qpos[:] = self.physics.field("qpos")[row].cpu().numpy()
        data.qvel[:] = self.physics.field("qvel")[row].cpu().numpy()
        mujoco.mj_forward(model, data)
        return data

    def close(self) -> None:
        """Release threads, device memory and the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        self.physics.close()

    # Pieces --------------------------------------------------------------------------------------------------

    def _check_action(self, action: Tensor) -> None:
        expected = (self.num_rows, 1, self.spec.action.size)
        if tuple(action.shape) != expected:
            raise ValueError(f"{self.spec.name}: action of shape {tuple(action.shape)}, expected {expected}")

    def _truncated(self) -> Tensor:
        horizon = self.spec.horizon or torch.iinfo(torch.long).max
        over, cut = self.episode_length >= horizon, self.cut_short()
        return over if cut is None else over | cut

    def _start(self, worlds: Tensor) -> None:
        if len(worlds) == 0:
            return
        self.episode_length[worlds] = 0
        self.episode_return[worlds] = 0.0
        self._broken[worlds] = False
        self.on_reset(worlds)
        self.physics.reset(worlds, *self.initial_state(worlds))

    def _count_failures(self, failed: Tensor) -> None:
        """Count and report each broken world once, however long it waits for its reset."""
        worlds = (failed & ~self._broken).nonzero().squeeze(-1).tolist()
        self._broken |= failed
        self.failures += len(worlds)
        if self.on_failure is not None:
            for world in worlds:
                self.on_failure(world)

    def _metrics(self, failed: Tensor) -> dict[str, Tensor]:
        figures = {"return": self.episode_return, "length": self.episode_length, "physics_failure": failed}
        figures |= self.episode_metrics()
        copies = torch.stack([figure.float() for figure in figures.values()])
        metrics = dict(zip(figures, copies.unbind(), strict=True))
        success = self.spec.success_metric
        if success in metrics:  # whatever the task made of a broken state, it did not succeed
            metrics[success] = torch.where(failed, 0.0, metrics[success])
        return metrics

    def advance(self, schedule: Schedule) -> None:
        """Advance the physics under controls that change within the control period."""
        if isinstance(self.physics, Scheduled):
            self.physics.step_schedule(schedule)
            return
        for ctrl, substeps in schedule:
            self.physics.field("ctrl").copy_(ctrl)
            self.physics.step(substeps)

    def uniform(self, rows: int, low: float | Tensor, high: float | Tensor, *size: int) -> Tensor:
        """Draws from U(low, high), (rows, *size), from this environment's own generator."""
        return low + (high - low) * torch.rand(rows, *size, generator=self.generator, device=self.device)
