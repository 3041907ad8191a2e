"""What steered policies have in common: a frozen policy, an actor that steers it, and critics that judge.

The actor works on latents, which mean what the rule says: the noise to start from (DSRL) or the chunk itself (EXPO).
They are flat and lie in [-1, 1]; the replay holds them, and soft actor-critic knows nothing else.

Legend: B rows; S elements of the observation group ``policy``; H action chunk; A action size; L = H A elements of a
latent; D noise tensors; F = 1 likelihood factor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from embodied.configuration import choice, positive
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..mlp import group_size
from ..networks import ACTIVATIONS
from ..pretrained import load_parts
from ..registry import make
from .frozen import act, check_chunk, check_generative
from .networks import Actor, Critics

GROUP = "policy"
"""The observation group that actor and critics see: the one that the frozen policy sees."""


@dataclass(frozen=True)
class SteeringConfig:
    """The part of the configuration that both rules share.

    base: the configuration of the frozen policy, see ``policies.make``.
    hidden, activation: of actor and critics.  critics: how many, the smallest of which counts.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    critics: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        choice("policy.activation", self.activation, ACTIVATIONS)
        positive("policy.critics", self.critics)


class SteeredPolicy(nn.Module, ABC):
    """A frozen policy, steered; the rules say what the actor sees and what becomes of its latents.

    Args:
        base: the frozen policy; None: the one that ``config.base`` describes.
        guide: elements that the actor sees beside the observation.

    Raises:
        ValueError: the frozen policy is not generative or sees images, or its chunks are not the task's decisions.
    """

    recurrent = False
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: SteeringConfig, base: Any = None, guide: int = 0) -> None:
        super().__init__()
        frozen: Any = make(config.base, spec) if base is None else base
        check_generative(frozen)
        check_chunk(frozen, spec)
        if "image" in spec.obs:
            raise ValueError(f"task {spec.name!r} shows images; steering sees the observation group {GROUP!r} alone")
        self.base = frozen.requires_grad_(False)
        self.chunk = spec.action.chunk, spec.action.size
        seen, self.latent_size = group_size(spec, GROUP), spec.action.chunk * spec.action.size
        self.actor = Actor(seen + guide, self.latent_size, config.hidden, config.activation)
        self.critic = Critics(seen + self.latent_size, config.hidden, config.activation, config.critics)
        self.register_buffer("factor_weight", torch.ones(1), persistent=False)
        self.register_buffer("factor_clip", torch.ones(1), persistent=False)

    def start_from(self, base: nn.Module) -> None:
        """Take the frozen policy's weights from another of its kind.

        Raises:
            ValueError: it has other networks; the message says where.
        """
        state = base.state_dict()
        load_parts(self.base, state, {name.partition(".")[0] for name in (*state, *self.base.state_dict())})

    def frozen(self, obs: Tensor, noise: Tensor) -> Tensor:
        """What the frozen policy makes of observations (B, ...) and noise (B, D, H, A): actions (B, H, A)."""
        return act(self.base, {GROUP: obs}, noise)

    @abstractmethod
    def undirected(self, obs: Tensor) -> Tensor:
        """Latents (B, L) by which the frozen policy does what it does by itself; obs (B, ...)."""

    @abstractmethod
    def choose(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """Latents (B, L) of the steered policy; obs (B, ...)."""

    @abstractmethod
    def execute(self, obs: Tensor, latent: Tensor) -> Tensor:
        """The actions (B, H, A) in policy units that latents (B, L) stand for; obs (B, ...)."""

    # The contract of a policy -----------------------------------------------------------------------------------

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Empty: no memory."""
        return {}

    @abstractmethod
    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,)."""

    @abstractmethod
    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely ones."""

    @abstractmethod
    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of decisions made before."""

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What steers."""
        return self.actor.parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What judges."""
        return self.critic.parameters()
