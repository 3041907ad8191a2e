"""Any Gymnasium environment as a VecEnv of this suite.

Its state cannot be written down in general, so a resumed run starts new episodes here; everything else continues.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array
from torch import Tensor

from embodied.configuration import from_mapping
from embodied.types import ActionSpec, Obs, StepResult, TaskSpec

from .adapters.groups import SpaceGroups


@dataclass(frozen=True)
class GymnasiumConfig:
    """A Gymnasium environment by its id.

    id: as for ``gymnasium.make``; ``module:Name-v0`` imports a module first.  kwargs: for its constructor.
    vectorization: ``sync`` (in this process) or ``async`` (a process a row).
    max_episode_steps: replaces the registered horizon.
    success_key: the info, at an episode's end, that says whether it was a success.
    """

    name: str
    kind: str
    id: str
    description: str = ""
    vectorization: str = "sync"
    max_episode_steps: int | None = None
    success_key: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class GymnasiumVecEnv:
    """B rows of a Gymnasium ``VectorEnv``; implements :class:`embodied.types.VecEnv`.

    Actions: a bounded Box is addressed from [-1, 1] each. Observations: see :class:`SpaceGroups`.
    Any autoreset mode serves. With NEXT_STEP, the step that only resets a row is returned as not ``active``.

    Args:
        env: the environment; SAME_STEP must give ``infos["final_obs"]``.
        name: of the task; by default the environment's id.
        horizon: by default the registered one; truncation itself is the environment's business.
        success_key: see :class:`GymnasiumConfig`.
    """

    def __init__(
        self,
        env: VectorEnv,
        *,
        name: str | None = None,
        horizon: int | None = None,
        success_key: str | None = None,
        device: str | torch.device = "cpu",
        seed: int = 0,
    ) -> None:
        self.env, self.device, self.num_rows = env, torch.device(device), env.num_envs
        self.mode = env.metadata.get("autoreset_mode")
        if not isinstance(self.mode, AutoresetMode):
            raise ValueError(f"{env}: metadata['autoreset_mode'] must be an AutoresetMode, got {self.mode!r}")
        self._groups = SpaceGroups(env.single_observation_space, self.device)
        self._success_key, self._seed, self._starts = success_key, seed, 0
        known = env.spec
        self.spec = TaskSpec(
            name=name or (known.id if known is not None else type(env).__name__),
            control_dt=_control_dt(env),
            horizon=horizon or (known.max_episode_steps if known is not None else None) or 0,
            obs=self._groups.groups,
            action=_action_spec(env.single_action_space),
            success_metric="success" if success_key else None,
        )
        action = self.spec.action
        self._offset, self._scale = (torch.tensor(x, device=self.device) for x in (action.offset, action.scale))
        self.episode_return = torch.zeros(self.num_rows, device=self.device)
        self.episode_length = torch.zeros(self.num_rows, dtype=torch.long, device=self.device)
        self._idle = torch.zeros(self.num_rows, dtype=torch.bool, device=self.device)
        self._obs: Obs = {}
        self._begun = torch.zeros(self.num_rows, dtype=torch.bool, device=self.device)
        self._cut, self._autoreset = False, True

    @property
    def autoreset(self) -> bool:
        """Whether rows that end are reset within the step. Turned off, they are shown as they ended, and move on in an
        episode that nobody sees until :meth:`reset_rows`; ValueError with NEXT_STEP, which cannot be turned off."""
        return self._autoreset

    @autoreset.setter
    def autoreset(self, on: bool) -> None:
        if not on and self.mode is AutoresetMode.NEXT_STEP:
            raise ValueError(f"{self.spec.name} resets a row by its next step; use SAME_STEP or DISABLED instead")
        self._autoreset = on

    def reset(self, seed: int | None = None) -> Obs:
        """Start every row afresh; row i of a seeded reset gets seed + i, as Gymnasium does it."""
        if seed is None and self._starts == 0:
            seed = self._seed
        if seed is not None:
            self._seed = seed
        raw, _ = self.env.reset(seed=seed)
        self._starts += 1
        self._cut = False
        for buffer in (self.episode_return, self.episode_length, self._idle):
            buffer.zero_()
        self._obs = self._groups(raw)
        self._begun.fill_(True)
        return self._obs

    def step(self, action: Tensor) -> StepResult:
        """Advance every row by one step; action (B, 1, A) in policy units."""
        expected = (self.num_rows, 1, self.spec.action.size)
        if tuple(action.shape) != expected:
            raise ValueError(f"{self.spec.name}: action of shape {tuple(action.shape)}, expected {expected}")
        if self._cut:
            return self._cut_short()
        raw, reward, terminated, truncated, infos = self.env.step(self._command(action[:, 0]))
        reward, idle = self._tensor(reward, torch.float32), self._idle
        terminated, truncated = self._tensor(terminated, torch.bool), self._tensor(truncated, torch.bool)
        self.episode_return += reward
        self.episode_length += (~idle).long()
        result = StepResult(self._groups(raw), reward, terminated, truncated & ~terminated, {}, {})
        done = result.done
        result.final_obs = self._final(result.obs, done, infos) if bool(done.any()) else result.obs
        if self.mode is AutoresetMode.NEXT_STEP:
            result.active, self._idle = ~idle, done
        if bool(done.any()):
            self._finish(result, done, infos)
        self._obs, self._begun = result.obs, done
        return result if self._autoreset else dataclasses.replace(result, obs=result.final_obs)

    def reset_rows(self, mask: Tensor, obs: Obs) -> Obs:
        """Reset the rows of a (B,) bool mask; ``obs`` with what these rows now observe in their places."""
        again = mask & ~self._begun  # the others are at a start already
        if bool(again.any()):
            fresh = self._groups(self.env.reset(options={"reset_mask": again.cpu().numpy()})[0])
            self._obs = _chosen(again, fresh, self._obs)
        self._begun = self._begun | mask
        self.episode_return[mask], self.episode_length[mask] = 0.0, 0
        return _chosen(mask, self._obs, obs)

    def state_dict(self) -> dict[str, Any]:
        """What a continuation with new episodes needs."""
        figures = {"return": self.episode_return.clone(), "length": self.episode_length.clone()}
        return {"seed": self._seed, "starts": self._starts, "obs": dict(self._obs), "figures": figures}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Start new episodes. The next step applies no action: it truncates the old ones where they were left, and is
        not ``active``."""
        self._seed, self._starts = int(state["seed"]), int(state["starts"])
        # The starts of a continued run must not repeat those of the run itself.
        self.reset(int(np.random.SeedSequence([self._seed, self._starts]).generate_state(1)[0] >> 1))
        self._fresh = self._obs
        self._obs = {name: group.to(self.device) for name, group in state["obs"].items()}
        self.episode_return.copy_(state["figures"]["return"])
        self.episode_length.copy_(state["figures"]["length"])
        self._cut = bool(self._obs)

    def render(self, row: int = 0) -> np.ndarray:
        """RGB frame of one row; RuntimeError if the environment was not made to render."""
        if self.env.render_mode != "rgb_array":
            raise RuntimeError(f"{self.spec.name} cannot render: make it with render_mode='rgb_array'")
        single = getattr(self.env.unwrapped, "envs", None)
        frames = self.env.render() if single is None else None
        return np.asarray(single[row].render() if frames is None else frames[row])  # type: ignore[index]

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    # Pieces --------------------------------------------------------------------------------------------------

    def _command(self, action: Tensor) -> np.ndarray:
        spec, space = self.spec.action, self.env.action_space
        if spec.low is not None:
            action = action.clamp(spec.low, spec.high)
        command = (self._offset + self._scale * action).cpu().numpy()
        return command.astype(space.dtype).reshape(space.shape)

    def _tensor(self, x: Any, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(x, device=self.device).to(dtype, copy=True)

    def _final(self, obs: Obs, done: Tensor, infos: Mapping[str, Any]) -> Obs:
        """The observations that the rows ended with."""
        if self.mode is not AutoresetMode.SAME_STEP:
            return obs
        if "final_obs" not in infos:
            raise ValueError(f"{self.spec.name} resets within the step and gives no infos['final_obs']")
        rows = done.nonzero().flatten()
        final = infos["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:
            space = self.env.single_observation_space
            storage: Any = create_empty_array(space, len(rows))
            ended = self._groups(concatenate(space, final[rows.cpu().numpy()], storage))
        else:
            ended = {name: group[rows] for name, group in self._groups(final).items()}
        return {name: group.index_copy(0, rows, ended[name]) for name, group in obs.items()}

    def _finish(self, result: StepResult, done: Tensor, infos: Mapping[str, Any]) -> None:
        """Figures of the rows that ended, and their reset where it is ours to make."""
        result.metrics = {"return": self.episode_return.clone(), "length": self.episode_length.float()}
        if self._success_key is not None:
            source = infos.get("final_info", infos) if self.mode is AutoresetMode.SAME_STEP else infos
            success = source.get(self._success_key, np.zeros(self.num_rows))
            result.metrics["success"] = self._tensor(np.asarray(success, np.float32), torch.float32)
        self.episode_return[done], self.episode_length[done] = 0.0, 0
        if self.mode is AutoresetMode.DISABLED:
            result.obs = self._groups(self.env.reset(options={"reset_mask": done.cpu().numpy()})[0])

    def _cut_short(self) -> StepResult:
        """The step after a continuation: old episodes end where they were left, the new ones begin."""
        self._cut = False
        nothing = torch.zeros(self.num_rows, dtype=torch.bool, device=self.device)
        metrics = {"return": self.episode_return.clone(), "length": self.episode_length.float()}
        if self._success_key is not None:
            metrics["success"] = torch.zeros(self.num_rows, device=self.device)
        self.episode_return.zero_()
        self.episode_length.zero_()
        before, self._obs, self._begun = self._obs, self._fresh, ~nothing
        reward = torch.zeros(self.num_rows, device=self.device)
        obs = self._obs if self._autoreset else before
        return StepResult(obs, reward, nothing, ~nothing, before, metrics, active=nothing)


def make(
    config: Mapping[str, Any],
    *,
    num_worlds: int,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
) -> GymnasiumVecEnv:
    """N rows of a Gymnasium environment from its YAML; see :func:`envs.registry.make`. The engine is its own."""
    del engine, num_threads
    settings: GymnasiumConfig = from_mapping(GymnasiumConfig, config, "task")
    if settings.vectorization not in ("sync", "async"):
        raise ValueError(f"unknown vectorization {settings.vectorization!r}; choose sync or async")
    options = dict(settings.kwargs)
    if settings.max_episode_steps is not None:
        options["max_episode_steps"] = settings.max_episode_steps
    env = gymnasium.make_vec(
        settings.id,
        num_envs=num_worlds,
        vectorization_mode=settings.vectorization,
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        render_mode="rgb_array",
        **options,
    )
    return GymnasiumVecEnv(
        env,
        name=settings.name,
        horizon=settings.max_episode_steps,
        success_key=settings.success_key,
        device=device,
        seed=seed,
    )


def _chosen(mask: Tensor, x: Obs, y: Obs) -> Obs:
    """x in the rows of mask (B,), y in the others."""
    return {name: torch.where(mask.view(-1, *(1,) * (y[name].dim() - 1)), x[name], y[name]) for name in y}


def _control_dt(env: VectorEnv) -> float:
    """Seconds a step: what the environment says, else its frame rate, else 1."""
    single = getattr(env.unwrapped, "envs", None)
    dt = getattr(single[0].unwrapped, "dt", None) if single else None
    if isinstance(dt, (int, float)) and dt > 0:
        return float(dt)
    fps = env.metadata.get("render_fps")
    return 1.0 / fps if fps else 1.0


def _action_spec(space: Space) -> ActionSpec:
    """[-1, 1] for a bounded Box, its own units for an unbounded one. ValueError for spaces that are not continuous."""
    if not isinstance(space, Box):
        raise ValueError(f"actions of {space} are not supported: policies here are continuous, which needs a Box")
    low, high = (np.asarray(limit, float).reshape(-1) for limit in (space.low, space.high))
    names = tuple(f"action_{i}" for i in range(low.size))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return ActionSpec(names, offset=(0.0,) * low.size, scale=(1.0,) * low.size)
    return ActionSpec(
        names,
        offset=tuple(((low + high) / 2).tolist()),
        scale=tuple(((high - low) / 2).tolist()),
        low=-1.0,
        high=1.0,
        command_low=tuple(low.tolist()),
        command_high=tuple(high.tolist()),
    )
