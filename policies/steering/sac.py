"""Soft actor-critic for steered policies: Stable-Baselines3's updates, on our networks and our replay.

DSRL is that algorithm as it stands, in the space of latents. EXPO (arXiv 2507.07986) changes both targets:

    y = r + g^n max_{a in {a_i, a_i + beta e_i}} min_j Q'_j(s', a),

and the edit policy maximises min_j Q_j(s, a + beta e) with an entropy bonus, as an actor that sees (s, a).

Legend: M transitions of a batch; L elements of a latent.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from .expo import EXPOPolicy
from .networks import smallest
from .replay import Replay, Transitions
from .settings import SACConfig
from .steered import SteeredPolicy

try:
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.utils import polyak_update
except ImportError as error:
    raise ImportError("Stable-Baselines3 is missing: pip install -e '.[baselines]'") from error


class Parts(nn.Module):
    """A steered policy as Stable-Baselines3 wants one: actor and critics, each with its optimiser."""

    def __init__(self, _: Any, __: Any, rate: Any, *, steered: SteeredPolicy, use_sde: bool) -> None:
        super().__init__()
        self.actor, self.critic = steered.actor, steered.critic
        self.critic_target = copy.deepcopy(steered.critic).requires_grad_(False)
        for part in (self.actor, self.critic):
            part.optimizer = torch.optim.Adam(part.parameters(), rate(1.0))

    def set_training_mode(self, mode: bool) -> None:
        """Nothing in here depends on it."""


class SteeringSAC(SAC):
    """What learns: the networks of a steered policy, their optimisers, the temperature."""

    log_ent_coef: Tensor
    ent_coef_optimizer: torch.optim.Adam

    def __init__(self, steered: SteeredPolicy, config: SACConfig, replay: Replay) -> None:
        absent: Any = None  # transitions come from the replay alone
        super().__init__(
            cast(Any, Parts),
            absent,
            learning_rate=config.learning_rate,
            batch_size=config.batch_size,
            tau=config.tau,
            ent_coef=f"auto_{config.temperature}",
            target_entropy=cast(Any, config.target_entropy * steered.latent_size),
            policy_kwargs={"steered": steered},
            device=steered.factor_weight.device,
            _init_setup_model=False,
        )
        self.steered, self.replay_buffer = steered, cast(Any, replay)
        self.observation_space = self.action_space = spaces.Box(-1, 1, (steered.latent_size,), np.float32)
        self._setup_model()
        self.set_logger(Logger(None, []))

    def figures(self) -> dict[str, float]:
        """Losses and temperature of the last update; empty before the first."""
        names = {"critic_loss": "loss/critic", "actor_loss": "loss/actor", "ent_coef": "temperature"}
        noted = self.logger.name_to_value
        return {ours: float(noted[f"train/{name}"]) for name, ours in names.items() if f"train/{name}" in noted}

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the policy's own tensors and the replay."""
        return {
            "target": dict(self.critic_target.state_dict()),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers()],
            "log_temperature": self.log_ent_coef.detach(),
            "updates": self._n_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the policy's tensors have been loaded before."""
        self.critic_target.load_state_dict(state["target"])
        for optimizer, stored in zip(self._optimizers(), state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.log_ent_coef.data.copy_(state["log_temperature"])
        self._n_updates = state["updates"]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer]


class EXPO(SteeringSAC):
    """The updates of EXPO in place of soft actor-critic's."""

    steered: EXPOPolicy

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Gradient steps of critics, edit policy and temperature."""
        for _ in range(gradient_steps):
            batch = cast(Any, self.replay_buffer).sample(batch_size)
            critic_loss = self._update_critic(batch)
            actor_loss = self._update_actor(batch.observations)
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
        self._n_updates += gradient_steps
        figures = {"critic_loss": critic_loss, "actor_loss": actor_loss, "ent_coef": float(self._temperature())}
        for name, figure in figures.items():
            self.logger.record(f"train/{name}", figure)

    def _update_critic(self, batch: Transitions) -> float:
        _, following = self.steered.judge(batch.next_observations, self.critic_target)
        target = batch.rewards + (1 - batch.dones) * batch.discounts * following.amax(1, keepdim=True)
        values = self.critic(batch.observations, batch.actions)
        loss = 0.5 * torch.stack([functional.mse_loss(value, target) for value in values]).sum()
        return _descend(loss, self.critic.optimizer)

    def _update_actor(self, obs: Tensor) -> float:
        edited, log_prob = self.steered.edit(obs, self.steered.undirected(obs))
        loss = (self._temperature() * log_prob - smallest(self.critic, obs, edited)).mean()
        surplus = (log_prob + cast(float, self.target_entropy)).detach().mean()
        _descend(-self.log_ent_coef * surplus, self.ent_coef_optimizer)
        return _descend(loss, self.actor.optimizer)

    def _temperature(self) -> Tensor:
        return self.log_ent_coef.detach().exp()


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
