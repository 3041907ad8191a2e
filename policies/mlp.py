"""A Gaussian actor and an asymmetric critic, both multilayer perceptrons.

Legend: B rows; H action chunk; A action size; F = 1 likelihood factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from embodied.configuration import choice
from embodied.types import CRITIC_GROUP, Decision, Evaluation, Obs, TaskSpec

from .distributions import REDUCTIONS, StateIndependentStd, gaussian_entropy, gaussian_log_prob
from .networks import ACTIVATIONS, INITS, flat, mlp
from .pretrained import load_parts


@dataclass(frozen=True)
class MLPConfig:
    """hidden, critic_hidden: layer widths; critic_hidden None: as hidden.

    activation: elu, relu, tanh, silu or gelu.  init: orthogonal or default (of torch).
    init_std, min_std: standard deviation of the action, in policy units.
    logprob_reduction: log-probabilities are the ``sum`` or the ``mean`` over the H x A elements of a chunk.
    """

    hidden: tuple[int, ...] = (128, 128, 64)
    critic_hidden: tuple[int, ...] | None = None
    activation: str = "elu"
    init: str = "orthogonal"
    init_std: float = 1.0
    min_std: float = 0.0
    logprob_reduction: str = "sum"

    def __post_init__(self) -> None:
        choice("policy.logprob_reduction", self.logprob_reduction, REDUCTIONS)
        choice("policy.activation", self.activation, list(ACTIVATIONS))
        choice("policy.init", self.init, INITS)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "critic_hidden", tuple(self.critic_hidden or self.hidden))


class MLPPolicy(nn.Module):
    """Acts on ``obs["policy"]``; its critic reads ``obs["critic"]``, or ``policy`` where a task has no such group."""

    recurrent = False
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: MLPConfig | None = None) -> None:
        super().__init__()
        config = config or MLPConfig()
        self.chunk = (spec.action.chunk, spec.action.size)
        self.share = 1.0 if config.logprob_reduction == "sum" else 1 / (self.chunk[0] * self.chunk[1])
        self.critic_group = CRITIC_GROUP if CRITIC_GROUP in spec.obs else "policy"
        style = config.activation, config.init
        self.actor = mlp(group_size(spec, "policy"), config.hidden, self.chunk[0] * self.chunk[1], *style, 0.01)
        self.critic = mlp(group_size(spec, self.critic_group), cast(tuple, config.critic_hidden), 1, *style, 1.0)
        self.std = StateIndependentStd(self.chunk, config.init_std, config.min_std)
        self.register_buffer("factor_weight", torch.ones(1), persistent=False)
        self.register_buffer("factor_clip", torch.ones(1), persistent=False)

    @property
    def input_weights(self) -> dict[str, str]:
        """The tensors (..., D) of the actor that read an observation group."""
        return {"actor.0.weight": "policy"}

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Empty: no memory."""
        return {}

    def mean(self, obs: Obs) -> Tensor:
        """The most likely action, (B, H, A)."""
        return self.actor(flat(obs["policy"])).unflatten(-1, self.chunk)

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,)."""
        return self.critic(flat(obs[self.critic_group])).squeeze(-1)

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely ones."""
        mean, std = self.mean(obs), self.std()
        action = mean if deterministic else mean + std * torch.randn_like(mean)
        return Decision(action, self._log_prob(action, mean, std), self.value(obs))

    def _log_prob(self, action: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """(B, 1)."""
        log_prob = gaussian_log_prob(action, mean, std).unsqueeze(-1)
        return log_prob if self.share == 1 else self.share * log_prob

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of actions (B, H, A) taken before."""
        std = self.std()
        log_prob = self._log_prob(action, self.mean(obs), std)
        return Evaluation(log_prob, (self.share * gaussian_entropy(std)).expand_as(log_prob), self.value(obs))

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Mean squared error (B,) of the most likely chunk against demonstrated ones (B, H, A)."""
        return (self.mean(obs) - action).square().mean((-2, -1))

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take the actor of another policy's ``state_dict()``, without its deviation and critic.

        Raises:
            ValueError: the actors differ; the message says where.
        """
        load_parts(self, state, ("actor",))

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What the policy gradient trains."""
        yield from self.actor.parameters()
        yield from self.std.parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What the value loss trains."""
        return self.critic.parameters()

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return {"std": self.std().mean().item()}


def group_size(spec: TaskSpec, name: str) -> int:
    """The number of elements of an observation group, which must be a vector or be flattened."""
    if name not in spec.obs:
        raise ValueError(f"task {spec.name!r} has no observation group {name!r}; it has {', '.join(spec.obs)}")
    size = 1
    for n in spec.obs[name].shape:
        size *= n
    return size
