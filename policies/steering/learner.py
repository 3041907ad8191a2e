"""Off-policy learning of a steered policy: decide, remember, learn from what is remembered.

Legend: B rows; H action chunk; A action size; L = H A elements of a latent; n control steps of a decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.types import StepResult, VecEnv

from .expo import EXPOPolicy
from .replay import Replay, Transitions
from .settings import SACConfig
from .steered import GROUP, SteeredPolicy


class SteeringLearner:
    """The state of off-policy learning and its two halves.

    Args:
        env: shows what the frozen policy was trained on, see :class:`.view.StandardisedVecEnv`.
        policy: learns in place, on the device of ``env``.

    Raises:
        ImportError: Stable-Baselines3 is missing.
    """

    def __init__(self, env: VecEnv, policy: SteeredPolicy, config: SACConfig) -> None:
        from .sac import EXPO, SteeringSAC

        self.env, self.policy, self.config = env, policy.to(env.device), config
        self.replay = Replay(config.buffer_size)
        self.sac = (EXPO if isinstance(policy, EXPOPolicy) else SteeringSAC)(policy, config, self.replay)
        if env.spec.action.chunk > 1:  # rewards inside a decision are summed up there, and discounted as here
            env.discount = config.gamma  # type: ignore[attr-defined]
        self.obs = torch.empty(0)
        self.age = torch.zeros(env.num_rows, dtype=torch.long, device=env.device)  # decisions of the episode so far

    def start(self, seed: int | None = None) -> None:
        """Reset the environment."""
        self.obs = self.env.reset(seed)[GROUP]
        self.age.zero_()

    @property
    def learning(self) -> bool:
        """Whether enough has been seen to learn from; until then the frozen policy acts by itself."""
        return self.replay.added >= self.config.learning_starts

    @torch.no_grad()
    def decide(self) -> StepResult:
        """One decision of every row, remembered."""
        latent = self.policy.choose(self.obs) if self.learning else self.policy.undirected(self.obs)
        result = self.env.step(self.policy.execute(self.obs, latent))
        self.age += 1
        horizon = self.env.spec.horizon
        late = (self.age >= horizon) & (horizon > 0)
        self.replay.add(transitions(self.obs, latent, result, self.config.gamma, late))
        self.age.masked_fill_(result.done, 0)
        self.obs = result.obs[GROUP]
        return result

    def learn(self) -> None:
        """The gradient steps that follow a decision, once there is enough to learn from.

        Raises:
            FloatingPointError: the critics' loss is not finite.
        """
        if not self.learning:
            return
        self.sac.train(self.config.gradient_steps, self.config.batch_size)
        if not math.isfinite(self.sac.figures()["loss/critic"]):
            raise FloatingPointError("the critics' loss is not finite")

    def figures(self) -> dict[str, float]:
        """What is worth logging."""
        return {"replay": float(len(self.replay)), **self.sac.figures()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs beside the policy's tensors and random generators."""
        own = {"sac": self.sac.state_dict(), "replay": self.replay.state_dict()}
        return {**own, "obs": self.obs, "age": self.age, "env": self.env.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the policy's tensors have been loaded before."""
        self.sac.load_state_dict(state["sac"])
        self.replay.load_state_dict(state["replay"], self.env.device)
        self.obs = state["obs"].to(self.env.device)
        self.age = state.get("age", torch.zeros_like(self.age)).to(self.env.device)
        self.env.load_state_dict(state["env"])


def transitions(obs: Tensor, latent: Tensor, result: StepResult, gamma: float, late: Tensor) -> Transitions:
    """What a decision taught, of the rows that are active: up to B transitions.

    Where an episode was cut off, what follows is the value of its last observation; where it ended by itself, nothing.
    late: (B,) bool, the horizon is reached. A deadline is a cut here, too: actor and critics see no clock.
    """
    ended = result.done.view(-1, *(1,) * (obs.dim() - 1))
    following = torch.where(ended, result.final_obs[GROUP], result.obs[GROUP])
    steps = torch.ones_like(result.reward) if result.steps is None else result.steps.to(result.reward)
    columns = ((result.terminated & ~late).to(result.reward), result.reward, gamma**steps)
    dones, rewards, discounts = (x.unsqueeze(-1) for x in columns)
    whole = Transitions(obs, latent, following, dones, rewards, discounts)
    return whole if result.active is None else Transitions(*(x[result.active] for x in whole))
