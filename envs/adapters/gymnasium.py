"""A task as a Gymnasium ``VectorEnv`` (all rows) or ``Env`` (one row), with Gymnasium 1.x's autoreset modes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from embodied.types import Obs, StepResult, VecEnv

from .spaces import action_space, observation_space

Output = Literal["numpy", "torch"]


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """B rows of a task as ``gymnasium.vector.VectorEnv``.

    Figures of ended episodes are at ``infos["metrics"][name]`` (B,), with ``_name`` and ``_metrics`` masks; in
    SAME_STEP they are inside ``infos["final_info"]``, together with ``episode`` (``r``, ``l``).

    Args:
        env: the task. Modes other than SAME_STEP need its ``autoreset`` attribute and ``reset_rows(mask, obs)``.
        obs_group: the group that is the observation, or None for a dict of all groups.
        output: ``numpy``; or ``torch``, tensors on the task's device (what most of Gymnasium's wrappers cannot read;
            put ``gymnasium.wrappers.vector.ArrayConversion`` in front of them).
        autoreset_mode: an AutoresetMode or its name or value. SAME_STEP: rows that end are reset within the step, and
            ``infos["final_obs"]`` has what they ended with. NEXT_STEP: they are reset by the following step, which
            ignores their action. DISABLED: by ``reset(options={"reset_mask": bool (B,)})``.
        render_mode: None or ``rgb_array``.
    """

    def __init__(
        self,
        env: VecEnv,
        *,
        obs_group: str | None = "policy",
        output: Output = "numpy",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        if output not in ("numpy", "torch"):
            raise ValueError(f"unknown output {output!r}; choose numpy or torch")
        self.env, self.obs_group, self.output = env, obs_group, output
        self.mode = _mode(autoreset_mode)
        self.num_envs = env.num_rows
        self.render_mode = check_render_mode(render_mode)
        self.metadata = metadata(env) | {"autoreset_mode": self.mode}
        self.single_observation_space = observation_space(env.spec, obs_group)
        self.single_action_space = action_space(env.spec)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        if self.mode is not AutoresetMode.SAME_STEP:
            _turn_off_autoreset(env, self.mode)
        self._ended = torch.zeros(self.num_envs, dtype=torch.bool, device=env.device)
        self._obs: Obs = {}

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start every row, or those of ``options["reset_mask"]`` only. With a seed all that follows is its function;
        rows differ, as they are drawn from one generator."""
        mask = None if options is None else options.get("reset_mask")
        if mask is not None:
            return self._reset_some(mask, seed), {}
        super().reset(seed=seed)
        self._obs = self.env.reset(seed)
        self._ended.zero_()
        return self._out_obs(self._obs), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Observations, rewards (B,), terminations (B,), truncations (B,), infos; actions as in ``action_space``."""
        before = self._ended
        if self.mode is AutoresetMode.DISABLED and bool(before.any()):
            raise gymnasium.error.ResetNeeded(
                "rows have ended: reset(options={'reset_mask': terminations|truncations})"
            )
        result = self.env.step(self._in_action(actions))
        if self.mode is AutoresetMode.NEXT_STEP and bool(before.any()):
            self._start_ended(result, before)
        self._obs, self._ended = result.obs, result.done
        infos = self._infos(result) if bool(self._ended.any()) else {}
        arrays = (self._out(x) for x in (result.reward, result.terminated, result.truncated))
        return (self._out_obs(result.obs), *arrays, infos)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A frame of every row, (height, width, 3) uint8 each."""
        if self.render_mode is None:
            return None
        return tuple(self.env.render(row) for row in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Close the task."""
        self.env.close()

    # Pieces --------------------------------------------------------------------------------------------------

    def _reset_some(self, mask: Any, seed: int | None) -> Any:
        if self.mode is AutoresetMode.SAME_STEP:
            raise ValueError("reset_mask needs autoreset_mode DISABLED or NEXT_STEP: here rows reset within the step")
        if seed is not None:
            raise ValueError("rows share one random generator: a seed goes with a reset of all rows")
        rows = torch.as_tensor(mask, device=self.env.device)
        if rows.dtype != torch.bool or tuple(rows.shape) != (self.num_envs,) or not bool(rows.any()):
            raise ValueError(f"reset_mask must be bool of shape ({self.num_envs},) with a True, got {mask!r}")
        if not self._obs:
            raise gymnasium.error.ResetNeeded("reset all rows before resetting some")
        self._obs = self.env.reset_rows(rows, self._obs)  # type: ignore[attr-defined]
        self._ended = self._ended & ~rows
        return self._out_obs(self._obs)

    def _start_ended(self, result: StepResult, ended: Tensor) -> None:
        """Turn the step of the rows that had ended into their reset."""
        result.obs = self.env.reset_rows(ended, result.obs)  # type: ignore[attr-defined]
        result.reward = torch.where(ended, 0.0, result.reward)
        result.terminated, result.truncated = result.terminated & ~ended, result.truncated & ~ended

    def _infos(self, result: StepResult) -> dict[str, Any]:
        """What belongs to the rows that ended."""
        done = result.done
        metrics = self._masked({name: torch.where(done, value, 0) for name, value in result.metrics.items()}, done)
        infos = {"metrics": metrics, "_metrics": self._out(done)}
        if self.mode is not AutoresetMode.SAME_STEP:
            return infos
        if "return" in metrics and "length" in metrics:
            length = torch.where(done, result.metrics["length"], 0).long()
            episode = {"r": torch.where(done, result.metrics["return"], 0), "l": length}
            infos |= {"episode": self._masked(episode, done), "_episode": self._out(done)}
        final_obs = self._final_obs(result.final_obs, done)
        return {
            "final_obs": final_obs,
            "_final_obs": self._out(done),
            "final_info": infos,
            "_final_info": self._out(done),
        }

    def _final_obs(self, obs: Obs, done: Tensor) -> Any:
        """Torch: as an observation. NumPy: an object array, None where a row goes on, as in Gymnasium's own envs."""
        batch = self._out_obs(obs)
        if self.output == "torch":
            return batch
        rows = np.full(self.num_envs, None, dtype=object)
        for row in done.nonzero().flatten().tolist():
            rows[row] = {k: v[row] for k, v in batch.items()} if isinstance(batch, dict) else batch[row]
        return rows

    def _masked(self, values: Mapping[str, Tensor], mask: Tensor) -> dict[str, Any]:
        return {k: v for name, x in values.items() for k, v in ((name, self._out(x)), (f"_{name}", self._out(mask)))}

    def _in_action(self, actions: Any) -> Tensor:
        action = torch.as_tensor(actions, dtype=torch.float32, device=self.env.device)
        if tuple(action.shape) != self.action_space.shape:
            raise ValueError(f"actions of shape {tuple(action.shape)}, expected {self.action_space.shape}")
        return action.reshape(self.num_envs, self.env.spec.action.chunk, -1)

    def _out_obs(self, obs: Obs) -> Any:
        if self.obs_group is not None:
            return self._out(obs[self.obs_group])
        return {name: self._out(obs[name]) for name in self.env.spec.obs}

    def _out(self, x: Tensor) -> Any:
        if self.output == "torch":
            return x
        array = x.detach().cpu().numpy()
        return array.copy()  # the caller may write into it


class GymnasiumEnv(gymnasium.Env):
    """One row of a task as ``gymnasium.Env``. Figures of the episode are at ``info["metrics"]`` when it ends.

    Args: as :class:`GymnasiumVectorEnv`; NumPy only. ValueError if ``env`` has more than one row.
    """

    def __init__(self, env: VecEnv, *, obs_group: str | None = "policy", render_mode: str | None = None) -> None:
        if env.num_rows != 1:
            raise ValueError(f"a gymnasium.Env has one row, this task has {env.num_rows}; use GymnasiumVectorEnv")
        self.env, self.obs_group = env, obs_group
        if hasattr(env, "autoreset"):
            env.autoreset = False  # whoever steps it resets it, and the episode would begin twice
        self.render_mode = check_render_mode(render_mode)
        self.metadata = metadata(env)
        self.observation_space = observation_space(env.spec, obs_group)
        self.action_space = action_space(env.spec)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; with a seed, all that follows is its function."""
        super().reset(seed=seed)
        return self._row(self.env.reset(seed)), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated, truncated, info."""
        chunk = self.env.spec.action.chunk
        result = self.env.step(
            torch.as_tensor(action, dtype=torch.float32, device=self.env.device).reshape(1, chunk, -1)
        )
        done = bool(result.done)
        info = {"metrics": {name: float(value) for name, value in result.metrics.items()}} if done else {}
        obs = self._row(result.final_obs if done else result.obs)
        return obs, float(result.reward), bool(result.terminated), bool(result.truncated), info

    def render(self) -> np.ndarray | None:
        """The frame, (height, width, 3) uint8."""
        return None if self.render_mode is None else self.env.render(0)

    def close(self) -> None:
        """Close the task."""
        self.env.close()

    def _row(self, obs: Obs) -> Any:
        rows = {name: group[0].cpu().numpy().copy() for name, group in obs.items()}
        return rows if self.obs_group is None else rows[self.obs_group]


def metadata(env: VecEnv) -> dict[str, Any]:
    """Gymnasium's metadata of a task."""
    return {"render_modes": ["rgb_array"], "render_fps": max(1, round(1.0 / env.spec.control_dt))}


def check_render_mode(mode: str | None) -> str | None:
    """The mode, or a ValueError that names the valid ones."""
    if mode not in (None, "rgb_array"):
        raise ValueError(f"unknown render_mode {mode!r}; choose None or rgb_array")
    return mode


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    for known in AutoresetMode:
        if mode.lower() in (known.name.lower(), known.value.lower()):
            return known
    raise ValueError(f"unknown autoreset_mode {mode!r}; choose {', '.join(known.name for known in AutoresetMode)}")


def _turn_off_autoreset(env: VecEnv, mode: AutoresetMode) -> None:
    if not hasattr(env, "autoreset") or not hasattr(env, "reset_rows"):
        raise ValueError(f"{env.spec.name} always resets within the step; {mode.name} needs autoreset and reset_rows")
    env.autoreset = False
