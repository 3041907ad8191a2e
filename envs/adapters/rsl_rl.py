"""A task as an rsl_rl 5 environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embodied.types import VecEnv

try:
    from rsl_rl.env import VecEnv as RslRlBase
    from tensordict import TensorDict
except ImportError as error:
    raise ImportError("rsl_rl is missing: pip install -e '.[baselines]'") from error


class RslRlVecEnv(RslRlBase):
    """B rows of a task for rsl_rl's runners: all observation groups as a TensorDict, under their own names.

    ``extras["time_outs"]`` marks rows that were truncated; ``extras["log"]`` has the mean figures of the episodes that
    ended at the step, named ``episode/<metric>``.

    Args:
        cfg: what the runner writes beside its logs as the environment's configuration; the spec by default.
        max_episode_length: needed for tasks without a horizon only.
    """

    def __init__(self, env: VecEnv, *, cfg: Any = None, max_episode_length: int | None = None) -> None:
        self.env = env
        self.num_envs = env.num_rows
        self.num_actions = env.spec.action.size * env.spec.action.chunk
        self.max_episode_length = max_episode_length or env.spec.horizon
        if self.max_episode_length < 1:
            raise ValueError(f"{env.spec.name} has no horizon: pass max_episode_length")
        self.device = env.device
        self.cfg = env.spec.to_dict() if cfg is None else cfg
        self._own_length = torch.zeros(self.num_envs, dtype=torch.long, device=env.device)
        self._obs = env.reset()

    @property
    def episode_length_buf(self) -> Tensor:
        """Steps since each row's start, (B,). Writing it moves the task's own horizon counter, if it has one."""
        return getattr(self.env, "episode_length", self._own_length)

    @episode_length_buf.setter
    def episode_length_buf(self, value: Tensor) -> None:
        self.episode_length_buf.copy_(value)

    def reset(self, seed: int | None = None) -> TensorDict:
        """Start every row."""
        self._obs = self.env.reset(seed)
        self._own_length.zero_()
        return self.get_observations()

    def get_observations(self) -> TensorDict:
        """The current observation groups, batch size B."""
        return TensorDict({name: self._obs[name] for name in self.env.spec.obs}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Observations, rewards (B,), dones (B,) long, extras; actions (B, A)."""
        # The runner steps within inference mode; tensors that the task keeps must not become inference tensors, which
        # nothing outside of it could write to later.
        with torch.inference_mode(False), torch.no_grad():
            action = actions.to(self.device).clone().reshape(self.num_envs, self.env.spec.action.chunk, -1)
            result = self.env.step(action)
            self._obs = result.obs
            self._own_length = torch.where(result.done, 0, self._own_length + 1)
        extras: dict[str, Any] = {"time_outs": result.truncated.float()}
        if bool(result.done.any()):
            extras["log"] = {f"episode/{name}": x[result.done].float().mean() for name, x in result.metrics.items()}
        return self.get_observations(), result.reward, result.done.long(), extras

    def render(self, row: int = 0) -> Any:
        """RGB frame of one row."""
        return self.env.render(row)

    def close(self) -> None:
        """Close the task."""
        self.env.close()


def obs_groups(env: VecEnv) -> dict[str, list[str]]:
    """The runner's ``obs_groups``: the actor sees ``policy``, the critic ``critic`` where the task has that group."""
    return {"actor": ["policy"], "critic": ["critic" if "critic" in env.spec.obs else "policy"]}
