"""OpenVLA's action tokens: 256 values of each element, and the data set's statistics that give them units.

Every element is discretised between the 1 % and the 99 % quantile of the data set (Kim et al. 2024, arXiv 2406.09246,
sec. 3.2). The edges are 256 evenly spaced numbers from -1 to 1, and a token stands for the middle between two of them,
so that the last two tokens mean the same. Token n is the word number V - 1 - n of a vocabulary of V.

Legend: B rows; H action chunk; A action size; N = 256 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from embodied.configuration import nearest
from embodied.types import ActionSpec

from ..vla.tokens import action_limits


class ActionTokens(nn.Module):
    """low, high: (A,) what -1 and 1 stand for, in policy units.  scaled: (A,) bool; elsewhere -1 and 1 are themselves.

    count: N.
    """

    low: Tensor
    high: Tensor
    scaled: Tensor

    def __init__(self, low: Tensor, high: Tensor, scaled: Tensor, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.register_buffer("scaled", scaled, persistent=False)

    def action(self, token: Tensor) -> Tensor:
        """Actions (..., A) of tokens (..., A)."""
        middle = token.clamp_max(self.count - 2).to(self.low.dtype) + 0.5
        x = 2 * middle / (self.count - 1) - 1
        return torch.where(self.scaled, self.low + (x + 1) / 2 * (self.high - self.low), x)

    def token(self, action: Tensor) -> Tensor:
        """Tokens (..., A), int64, of actions (..., A): the interval that each lies in; the limits' beyond them."""
        span = torch.where(self.high > self.low, self.high - self.low, 1.0)  # an element may never have moved
        x = torch.where(self.scaled, 2 * (action - self.low) / span - 1, action)
        return ((x.clamp(-1, 1) + 1) / 2 * (self.count - 1)).floor().long()


def task_tokens(action: ActionSpec, count: int) -> ActionTokens:
    """Tokens over the task's own limits; over +-1 where it has none."""
    low, high = action_limits(action)
    size = action.size
    return ActionTokens(torch.full((size,), low), torch.full((size,), high), torch.ones(size).bool(), count)


def data_tokens(statistics: Mapping[str, Any], key: str, action: ActionSpec, count: int) -> ActionTokens:
    """Tokens over a data set's quantiles, in its units.

    Args:
        statistics: of all data sets, as published: ``statistics[key]["action"]`` has q01, q99 and perhaps mask.

    Raises:
        ValueError: no statistics of that name, or those of another number of elements.
    """
    if key not in statistics:
        raise ValueError(f"policy.unnorm_key={key!r}: {nearest(key, statistics)}")
    found = statistics[key]["action"]
    low, high = torch.tensor(found["q01"], dtype=torch.float32), torch.tensor(found["q99"], dtype=torch.float32)
    if len(low) != action.size:
        raise ValueError(f"policy.unnorm_key={key!r} has {len(low)} action elements, the task {action.size}")
    mask = found.get("mask")
    scaled = torch.ones_like(low).bool() if mask is None else torch.tensor(mask, dtype=torch.bool)
    return ActionTokens(low, high, scaled, count)
