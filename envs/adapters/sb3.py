"""A task as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from embodied.types import Obs, StepResult, VecEnv

from .gymnasium import check_render_mode
from .spaces import action_space, observation_space

try:
    from stable_baselines3.common.vec_env import VecEnv as SB3Base
except ImportError as error:
    raise ImportError("Stable-Baselines3 is missing: pip install -e '.[baselines]'") from error


class SB3VecEnv(SB3Base):
    """B rows of a task for SB3's algorithms, NumPy on the CPU.

    Infos of rows that end carry ``terminal_observation``, ``TimeLimit.truncated``, ``episode`` (``r``, ``l``, ``t``),
    ``metrics`` and, if the task counts success, ``is_success``. SB3 wants finite action spaces: where the spec has no
    limits, the space ends where the commands do.

    Args:
        obs_group: the group that is the observation, or None for a dict of all groups (SB3's MultiInputPolicy).
    """

    def __init__(self, env: VecEnv, *, obs_group: str | None = "policy", render_mode: str | None = None) -> None:
        self.env, self.obs_group = env, obs_group
        self.render_mode = check_render_mode(render_mode)
        self._action = torch.zeros(0)
        self._since = time.perf_counter()
        super().__init__(env.num_rows, observation_space(env.spec, obs_group), action_space(env.spec, finite=True))

    def reset(self) -> Any:
        """Start every row; the seed of the last ``seed()`` call is used once."""
        seed = self._seeds[0]
        self._reset_seeds()
        self._reset_options()
        return self._out(self.env.reset(seed))

    def step_async(self, actions: np.ndarray) -> None:
        """Take note of the actions (B, A)."""
        action = torch.as_tensor(actions, dtype=torch.float32, device=self.env.device)
        self._action = action.reshape(self.num_envs, self.env.spec.action.chunk, -1)

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Observations, rewards (B,), dones (B,), infos."""
        result = self.env.step(self._action)
        done = result.done.cpu().numpy()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            self._describe(result, np.flatnonzero(done), infos)
        return self._out(result.obs), result.reward.cpu().numpy().copy(), done, infos

    def _describe(self, result: StepResult, rows: np.ndarray, infos: list[dict[str, Any]]) -> None:
        final, truncated = self._out(result.final_obs), result.truncated.cpu().numpy()
        metrics = {name: value.cpu().numpy() for name, value in result.metrics.items()}
        success, now = self.env.spec.success_metric, round(time.perf_counter() - self._since, 6)
        for row in rows:
            figures = {name: float(value[row]) for name, value in metrics.items()}
            last = {name: group[row] for name, group in final.items()} if isinstance(final, dict) else final[row]
            infos[row] = {"terminal_observation": last, "TimeLimit.truncated": bool(truncated[row]), "metrics": figures}
            if "return" in figures and "length" in figures:
                infos[row]["episode"] = {"r": figures["return"], "l": int(figures["length"]), "t": now}
            if success in figures:
                infos[row]["is_success"] = figures[success]

    def _out(self, obs: Obs) -> Any:
        if self.obs_group is not None:
            return obs[self.obs_group].cpu().numpy().copy()
        return {name: obs[name].cpu().numpy().copy() for name in self.env.spec.obs}

    def close(self) -> None:
        """Close the task."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of every row."""
        return [self.env.render(row) for row in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute, once a row: rows share one environment."""
        value = self.render_mode if attr_name == "render_mode" else getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the task, for all rows."""
        self._need_all(indices, "set_attr")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the task once, for all rows; its result once a row."""
        self._need_all(indices, "env_method")
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in range(self.num_envs)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never: there are no single environments to wrap."""
        return [False for _ in self._get_indices(indices)]

    def _need_all(self, indices: Any, what: str) -> None:
        if indices is not None and len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"{what}: the rows of a task share one environment; leave indices at None")
