"""The value of an observation, from the trunk or from the privileged group.

Legend: B rows; E width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.types import CRITIC_GROUP, Obs, TaskSpec

from ..mlp import group_size
from ..networks import linear, mlp
from .trunk import Context, Trunk

CRITICS = ("shared", "separate")


class SharedCritic(nn.Module):
    """A query of its own on the trunk; the context does not know that it is asked."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, width))
        self.out = linear(width, 1, "orthogonal", 1.0)

    def forward(self, obs: Obs, trunk: Trunk, context: Context | None = None) -> Tensor:
        """(B,), from the observations' context if it is there already."""
        context = context or trunk.encode(obs)
        found, _ = trunk.decode(self.query.expand(context.rows, 1, -1), context)
        return self.out(found).flatten()


class SeparateCritic(nn.Module):
    """A perceptron on the group ``critic``, or on ``policy`` where a task has no such group."""

    def __init__(self, spec: TaskSpec, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.group = CRITIC_GROUP if CRITIC_GROUP in spec.obs else "policy"
        self.layers = mlp(group_size(spec, self.group), hidden, 1, activation)

    def forward(self, obs: Obs, trunk: Trunk, context: Context | None = None) -> Tensor:
        """(B,), whatever the trunk sees."""
        return self.layers(obs[self.group].flatten(1).to(next(self.parameters()).dtype)).squeeze(-1)
