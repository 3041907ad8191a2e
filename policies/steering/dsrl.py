"""DSRL: soft actor-critic chooses the noise that a frozen policy starts from
(Wagenmaker et al. 2025, arXiv 2506.15799).

A frozen diffusion or flow policy whose sampling is deterministic is a map from noise to chunks, and most of what it has
learnt to do lies somewhere in its noise. The actor's latent w in [-1, 1] stands for the noise b w. Left out: the
paper's second critic in action space, distilled to noise ("noise aliasing").

Legend: B rows; H action chunk; A action size; L = H A elements of a latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embodied.configuration import positive
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from .frozen import check_one_draw
from .networks import smallest
from .steered import GROUP, SteeredPolicy, SteeringConfig


@dataclass(frozen=True)
class DSRLConfig(SteeringConfig):
    """bound: b, the largest noise. The frozen policy has seen little beyond: of a standard normal distribution, 87 %
    of each element lie within 1.5, 99 % within 2.6.
    """

    bound: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("policy.bound", self.bound)


class DSRLPolicy(SteeredPolicy):
    """Decisions are those of the frozen policy for chosen noise; a likelihood is that of the noise.

    Raises:
        ValueError: as of :class:`.steered.SteeredPolicy`, or the frozen policy draws noise between its steps.
    """

    def __init__(self, spec: TaskSpec, config: DSRLConfig | None = None, base: Any = None) -> None:
        config = config or DSRLConfig()
        super().__init__(spec, config, base)
        check_one_draw(self.base)
        self.bound = config.bound

    def undirected(self, obs: Tensor) -> Tensor:
        """Standard normal noise, cut at the bound, as latents (B, L)."""
        noise = torch.randn(len(obs), self.latent_size, device=obs.device)
        return (noise / self.bound).clamp(-1, 1)

    def choose(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """The actor's latents (B, L)."""
        return self.actor.draw(obs, deterministic).tanh()

    def execute(self, obs: Tensor, latent: Tensor) -> Tensor:
        """What the frozen policy makes of this noise, (B, H, A)."""
        return self.frozen(obs, self.bound * latent.unflatten(-1, (1, *self.chunk)))

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take those of the most likely noise; the trace is the noise before squashing."""
        u = self.actor.draw(obs[GROUP], deterministic)
        log_prob = self.actor.log_prob(obs[GROUP], u).unsqueeze(-1)
        return Decision(self.execute(obs[GROUP], u.tanh()), log_prob, self.value(obs), {"noise": u})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of the noise behind actions taken before; its entropy is estimated from that one draw."""
        log_prob = self.actor.log_prob(obs[GROUP], trace["noise"]).unsqueeze(-1)
        return Evaluation(log_prob, -log_prob, self.value(obs))

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,): the smallest Q value of the most likely noise, which is not to be moved by it."""
        return smallest(self.critic, obs[GROUP], self.choose(obs[GROUP], True).detach())
