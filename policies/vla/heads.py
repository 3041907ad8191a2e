"""Two ways from the trunk's context to action tokens. Each says its logits once, for drawing and for judging.

Both start with all tokens equally likely, by weights of 0 that no training leaves: an untrained head is recognised.

Legend: B rows; H action chunk; A action size; N bins; E width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from .trunk import Context, Trunk

Choose = Callable[[Tensor], Tensor]
"""Logits (..., N) -> tokens (...)."""


class TokenHead(Protocol):
    """Tokens of a chunk, given the context."""

    def logits(self, trunk: Trunk, context: Context, token: Tensor) -> Tensor:
        """(B, H, A, N) for tokens (B, H, A); what is said of a token may depend on those before it."""

    def decide(self, trunk: Trunk, context: Context, choose: Choose) -> tuple[Tensor, Tensor]:
        """Tokens (B, H, A), chosen under logits (B, H, A, N)."""


class ParallelHead(nn.Module):
    """One query for each action of the chunk; given the observation, the elements are independent."""

    def __init__(self, chunk: tuple[int, int], bins: int, width: int) -> None:
        super().__init__()
        self.shape = (chunk[1], bins)
        self.query = nn.Parameter(torch.randn(chunk[0], width))
        self.out = _silent(width, chunk[1] * bins)

    def logits(self, trunk: Trunk, context: Context, token: Tensor | None = None) -> Tensor:
        """See :class:`TokenHead`."""
        found, _ = trunk.decode(self.query.expand(context.rows, -1, -1), context)
        return self.out(found).unflatten(-1, self.shape)

    def decide(self, trunk: Trunk, context: Context, choose: Choose) -> tuple[Tensor, Tensor]:
        """See :class:`TokenHead`."""
        logits = self.logits(trunk, context)
        return choose(logits), logits


class AutoregressiveHead(nn.Module):
    """One query for each element of the chunk, which also knows the tokens before it.

    Judging shows all tokens at once behind a causal mask; deciding goes token by token, with the keys and values of
    those before kept in the context.
    """

    def __init__(self, chunk: tuple[int, int], bins: int, width: int) -> None:
        super().__init__()
        self.chunk, self.count, self.start = chunk, chunk[0] * chunk[1], bins
        self.query = nn.Parameter(torch.randn(self.count, width))
        self.embed = nn.Embedding(bins + 1, width)
        self.out = _silent(width, bins)

    def logits(self, trunk: Trunk, context: Context, token: Tensor) -> Tensor:
        """See :class:`TokenHead`."""
        flat = token.flatten(1)
        before = torch.cat([torch.full_like(flat[:, :1], self.start), flat[:, :-1]], 1)
        found, _ = trunk.decode(self.query + self.embed(before), context, causal=True)
        return self.out(found).unflatten(1, self.chunk)

    def decide(self, trunk: Trunk, context: Context, choose: Choose) -> tuple[Tensor, Tensor]:
        """See :class:`TokenHead`."""
        token = torch.full((context.rows, 1), self.start, device=self.query.device)
        tokens, logits = [], []
        for query in self.query:
            found, context = trunk.decode(query + self.embed(token), context)
            logits.append(self.out(found))
            token = choose(logits[-1])
            tokens.append(token)
        return torch.cat(tokens, 1).unflatten(1, self.chunk), torch.cat(logits, 1).unflatten(1, self.chunk)


HEADS: dict[str, type[ParallelHead] | type[AutoregressiveHead]] = {
    "parallel": ParallelHead,
    "autoregressive": AutoregressiveHead,
}


def _silent(size_in: int, size_out: int) -> nn.Linear:
    layer = nn.Linear(size_in, size_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
