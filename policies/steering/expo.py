"""EXPO: a frozen policy's chunks, edited by a small Gaussian policy, and the best of all of them by Q-value
(Dong et al. 2025, arXiv 2507.07986).

For an observation the frozen policy draws N chunks a_i; the edit policy moves each to a_i + beta e_i, e_i in [-1, 1];
the one of the 2N with the largest Q is executed, and the same choice bootstraps the critics. Departures from the paper:
the base stays frozen (there it goes on imitating what is in the replay), two critics in place of an ensemble.

Legend: B rows; N candidates; H action chunk; A action size; L = H A elements of a latent, which is a chunk scaled to
[-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodied.configuration import positive
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from .networks import smallest
from .steered import GROUP, SteeredPolicy, SteeringConfig


@dataclass(frozen=True)
class EXPOConfig(SteeringConfig):
    """candidates: N, chunks that the frozen policy draws.  edit_scale: beta, as a share of half the action's range."""

    candidates: int = 8
    edit_scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("policy.candidates", self.candidates)
        positive("policy.edit_scale", self.edit_scale)


class EXPOPolicy(SteeredPolicy):
    """Chooses among the chunks of a frozen policy and their edits; its ``actor`` is the edit policy, which sees both.

    Which is best has no density: it can be evaluated and played, and learns off-policy only.

    Raises:
        ValueError: as of :class:`.steered.SteeredPolicy`, or the actions have no limits.
    """

    centre: Tensor
    half_range: Tensor

    def __init__(self, spec: TaskSpec, config: EXPOConfig | None = None, base: Any = None) -> None:
        config = config or EXPOConfig()
        super().__init__(spec, config, base, guide=spec.action.chunk * spec.action.size)
        self.candidates, self.edit_scale = config.candidates, config.edit_scale
        centre, half_range = action_range(spec, self.base)
        self.register_buffer("centre", centre)
        self.register_buffer("half_range", half_range)

    @torch.no_grad()
    def undirected(self, obs: Tensor) -> Tensor:
        """One chunk of the frozen policy a row, (B, L)."""
        noise = torch.randn(len(obs), *self.base.noise_shape, device=obs.device)
        return ((self.frozen(obs, noise) - self.centre) / self.half_range).flatten(1).clamp(-1, 1)

    def execute(self, obs: Tensor, latent: Tensor) -> Tensor:
        """The chunks (B, H, A) in policy units."""
        return self.centre + self.half_range * latent.unflatten(-1, self.chunk)

    def edit(self, obs: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Edited chunks (B, L), and the edits' log-densities (B,)."""
        edit, log_prob = self.actor.action_log_prob(torch.cat([obs.flatten(1), latent], -1))
        return (latent + self.edit_scale * edit).clamp(-1, 1), log_prob

    @torch.no_grad()
    def judge(self, obs: Tensor, critic: nn.Module, deterministic: bool = False) -> tuple[Tensor, Tensor]:
        """The 2N candidates (B, 2N, L) and the smallest of the critics' values of each, (B, 2N).

        deterministic: edit by the most likely edit; the frozen policy's chunks are drawn in any case.
        """
        rows = obs.repeat_interleave(self.candidates, 0)
        drawn = self.undirected(rows)
        edit = self.actor.draw(torch.cat([rows.flatten(1), drawn], -1), deterministic).tanh()
        edited = (drawn + self.edit_scale * edit).clamp(-1, 1)
        both = torch.stack([drawn, edited], 1).unflatten(0, (len(obs), -1)).flatten(1, 2)
        value = smallest(critic, obs.repeat_interleave(both.shape[1], 0), both.flatten(0, 1))
        return both, value.unflatten(0, (len(obs), -1))

    def choose(self, obs: Tensor, deterministic: bool = False) -> Tensor:
        """The best candidate of each row, (B, L)."""
        return best(*self.judge(obs, self.critic, deterministic))[0]

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """The best candidates (B, H, A), whose log-probability is not a number."""
        latent, value = best(*self.judge(obs[GROUP], self.critic, deterministic))
        return Decision(self.execute(obs[GROUP], latent), torch.full_like(value, torch.nan).unsqueeze(-1), value)

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,): the Q value of the best candidate."""
        return self.judge(obs[GROUP], self.critic)[1].amax(1)

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Refused: a choice of the best has no density."""
        raise ValueError("policy.kind=expo has no likelihood: it learns by `embodied steer`")


def best(candidates: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The most valuable of candidates (B, 2N, L) by value (B, 2N): (B, L) and (B,)."""
    highest, index = value.max(1)
    return candidates[torch.arange(len(index), device=index.device), index], highest


def action_range(spec: TaskSpec, base: Any) -> tuple[Tensor, Tensor]:
    """Centre and half range of the action, in policy units: (A,) each.

    From the task's limits; where it has none, from those that the frozen policy's demonstrations kept.

    Raises:
        ValueError: neither is known.
    """
    low, high = spec.action.low, spec.action.high
    if low is not None and high is not None:
        size = spec.action.size
        return torch.full((size,), (low + high) / 2), torch.full((size,), (high - low) / 2)
    if hasattr(base, "centre") and hasattr(base, "width"):
        return base.centre.clone(), base.width.clone()
    raise ValueError(
        f"the actions of task {spec.name!r} have no limits, and EXPO edits within limits: pretrain with actions=minmax"
    )
