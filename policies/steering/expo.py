"""EXPO: a frozen policy's chunks, edited by a small Gaussian policy, and the best of all of them by Q-value
(Dong et al. 2025, arXiv 2507.07986), on the parts of Stable-Baselines3's soft actor-critic.

For an observation the frozen policy draws N chunks a_i; the edit policy moves each to a_i + beta e_i, e_i in [-1, 1];
the one of the 2N with the largest Q is executed, and the same choice bootstraps the critics:

    y = r + g max_{a in {a_i, a_i + beta e_i}} min_j Q'_j(s', a).

The edit policy maximises min_j Q_j(s, a + beta e) with an entropy bonus, as an actor of soft actor-critic that sees
(s, a). Departures from the paper: the base stays frozen (there it goes on imitating what is in the replay buffer), two
critics in place of an ensemble, one gradient step an environment step unless asked for more.

Legend: B rows; N candidates; H action chunk; A action size. Actions in here are flat, (B, H A), and scaled to [-1, 1].
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from embodied.configuration import positive

from .frozen import FrozenPolicy, act

try:
    from stable_baselines3 import SAC
    from stable_baselines3.common.torch_layers import FlattenExtractor
    from stable_baselines3.common.utils import polyak_update
    from stable_baselines3.sac.policies import Actor, SACPolicy
except ImportError as error:
    raise ImportError("Stable-Baselines3 is missing: pip install -e '.[baselines]'") from error


class EditPolicy(SACPolicy):
    """Chooses among the chunks of a frozen policy and their edits; its ``actor`` is the edit policy.

    Args:
        base: the frozen policy; it must be shown what it was trained on, see :class:`.view.StandardisedVecEnv`.
        candidates: N.  edit_scale: beta, as a share of half the action's range.
        others: as of SB3's ``SACPolicy``.
    """

    centre: Tensor
    half_range: Tensor

    def __init__(
        self, *args: Any, base: FrozenPolicy, candidates: int = 8, edit_scale: float = 0.1, **others: Any
    ) -> None:
        positive("candidates", candidates)
        positive("edit_scale", edit_scale)
        super().__init__(*args, **others)
        self.base, self.candidates, self.edit_scale = base, candidates, edit_scale
        if isinstance(base, nn.Module):
            base.requires_grad_(False)
        space = cast(spaces.Box, self.action_space)
        low, high = torch.as_tensor(space.low).flatten(), torch.as_tensor(space.high).flatten()
        self.register_buffer("centre", (low + high) / 2)
        self.register_buffer("half_range", (high - low) / 2)

    def make_actor(self, features_extractor: nn.Module | None = None) -> Actor:
        """The edit policy, which sees the observation and the action to be edited."""
        size = spaces.flatdim(self.observation_space) + spaces.flatdim(self.action_space)
        space = spaces.Box(-np.inf, np.inf, (size,))
        own: Any = {"observation_space": space, "features_extractor": FlattenExtractor(space), "features_dim": size}
        return Actor(**(self.actor_kwargs | own)).to(self.device)

    @torch.no_grad()
    def draw(self, obs: Tensor) -> Tensor:
        """One chunk of the frozen policy a row, (B, H A)."""
        noise = torch.randn(len(obs), *self.base.noise_shape, device=obs.device)
        action = act(self.base, {"policy": obs}, noise).flatten(1)
        return ((action - self.centre) / self.half_range).clamp(-1, 1)

    def edit(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Edited actions (B, H A), and the edits' log-probabilities (B,)."""
        edit, log_prob = self.actor.action_log_prob(torch.cat([obs.flatten(1), action], -1))
        return (action + self.edit_scale * edit).clamp(-1, 1), log_prob

    @torch.no_grad()
    def judge(self, obs: Tensor, critic: nn.Module, deterministic: bool = False) -> tuple[Tensor, Tensor]:
        """The 2N candidates (B, 2N, H A) and the smallest of the critics' values of each, (B, 2N).

        deterministic: edit by the most likely edit; the frozen policy's chunks are drawn in any case.
        """
        rows = obs.repeat_interleave(self.candidates, 0)
        drawn = self.draw(rows)
        if deterministic:
            edit = self.actor(torch.cat([rows.flatten(1), drawn], -1), True)
            edited = (drawn + self.edit_scale * edit).clamp(-1, 1)
        else:
            edited, _ = self.edit(rows, drawn)
        both = torch.stack([drawn, edited], 1).unflatten(0, (len(obs), -1)).flatten(1, 2)
        value = smallest(critic, obs.repeat_interleave(both.shape[1], 0), both.flatten(0, 1))
        return both, value.unflatten(0, (len(obs), -1))

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        action, value = self.judge(observation, self.critic, deterministic)
        return action[torch.arange(len(action)), value.argmax(1)]


class EXPO(SAC):
    """SB3's soft actor-critic with the updates of EXPO; see :func:`expo`."""

    policy: EditPolicy

    def _sample_action(self, learning_starts: int, *args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:
        """From the first step on the frozen policy's chunks are executed, never random ones."""
        return super()._sample_action(0, *args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Gradient steps of critics, edit policy and entropy coefficient."""
        self.policy.set_training_mode(True)
        entropy = cast(torch.optim.Optimizer, self.ent_coef_optimizer)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer, entropy])
        for _ in range(gradient_steps):
            batch = cast(Any, self.replay_buffer).sample(batch_size, env=self._vec_normalize_env)
            critic_loss = self._update_critic(batch)
            actor_loss = self._update_actor(batch.observations)
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
        self._n_updates += gradient_steps
        figures = {"critic_loss": critic_loss, "actor_loss": actor_loss, "ent_coef": float(self._temperature())}
        for name, figure in figures.items():
            self.logger.record(f"train/{name}", figure)

    def _update_critic(self, batch: Any) -> float:
        _, following = self.policy.judge(batch.next_observations, self.critic_target)
        target = batch.rewards + (1 - batch.dones) * self.gamma * following.amax(1, keepdim=True)
        values = self.critic(batch.observations, batch.actions)
        loss = 0.5 * torch.stack([functional.mse_loss(value, target) for value in values]).sum()
        return _descend(loss, self.critic.optimizer)

    def _update_actor(self, obs: Tensor) -> float:
        edited, log_prob = self.policy.edit(obs, self.policy.draw(obs))
        loss = (self._temperature() * log_prob - smallest(self.critic, obs, edited)).mean()
        surplus = (log_prob + cast(float, self.target_entropy)).detach().mean()
        _descend(-cast(Tensor, self.log_ent_coef) * surplus, cast(Any, self.ent_coef_optimizer))
        return _descend(loss, self.actor.optimizer)

    def _temperature(self) -> Tensor:
        return cast(Tensor, self.log_ent_coef).detach().exp()


def expo(env: Any, base: FrozenPolicy, *, candidates: int = 8, edit_scale: float = 0.1, **sac: Any) -> EXPO:
    """The learner for an SB3 ``VecEnv`` whose actions are chunks (H, A) in policy units.

    gamma counts per decision: for chunks of H actions pass ``gamma ** H``, and give the environment ``gamma``.

    Args:
        base, candidates, edit_scale: see :class:`EditPolicy`.
        sac: arguments of SB3's ``SAC``; ``ent_coef`` must stay automatic.

    Raises:
        ValueError: the frozen policy's chunk is not the environment's, or a number is out of its range.
    """
    made, taken = tuple(base.noise_shape[1:]), env.action_space.shape
    if made != (taken if len(taken) == 2 else (1, *taken)):
        raise ValueError(f"the frozen policy makes chunks of shape {made}, the environment takes actions of {taken}")
    if not isinstance(env.observation_space, spaces.Box):
        raise ValueError(f"EXPO takes one observation group, not {env.observation_space}: name it by obs_group")
    if not str(sac.get("ent_coef", "auto")).startswith("auto"):
        raise ValueError(f"ent_coef={sac['ent_coef']!r}: EXPO adapts it; valid: 'auto', 'auto_<initial value>'")
    own = {"base": base, "candidates": candidates, "edit_scale": edit_scale}
    return EXPO(EditPolicy, env, policy_kwargs=sac.pop("policy_kwargs", {}) | own, **sac)


def smallest(critic: nn.Module, obs: Tensor, action: Tensor) -> Tensor:
    """The smallest of the critics' values, (B,)."""
    return torch.cat(critic(obs, action), -1).amin(-1)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
