"""Actions as tokens: each element is one of a few evenly spaced values; and the likelihood of such tokens.

The values include both limits and, for an odd number, the middle, so that "open", "closed" and "stay" can be said.

Legend: B rows; H action chunk; A action size; N bins; F likelihood factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LIKELIHOODS = ("token", "action", "chunk")
"""What has a ratio of its own: every element (F = H A), every action of the chunk (F = H), or all of it (F = 1)."""


@dataclass(frozen=True)
class Bins:
    """count: N values from low to high, in policy units."""

    low: float
    high: float
    count: int

    def action(self, token: Tensor, dtype: torch.dtype) -> Tensor:
        """The values of tokens 0 .. N - 1, of any shape."""
        return self.low + token.to(dtype) * ((self.high - self.low) / (self.count - 1))

    def token(self, action: Tensor) -> Tensor:
        """The nearest value's token, int64, of any shape; beyond the limits, the limit's."""
        share = (action - self.low) / (self.high - self.low)
        return (share * (self.count - 1)).round().clamp(0, self.count - 1).long()


def factor_count(likelihood: str, chunk: tuple[int, int]) -> int:
    """F for a chunk (H, A)."""
    return {"token": chunk[0] * chunk[1], "action": chunk[0], "chunk": 1}[likelihood]


def factors(elements: Tensor, likelihood: str) -> Tensor:
    """Figures (B, H, A) of the elements summed up into those of the factors, (B, F)."""
    if likelihood == "token":
        return elements.flatten(1)
    return elements.sum(-1) if likelihood == "action" else elements.sum((-2, -1)).unsqueeze(-1)


def token_log_prob(logits: Tensor, token: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability (B, H, A), nats, of tokens (B, H, A) under logits (B, H, A, N)."""
    return (logits / temperature).log_softmax(-1).gather(-1, token.unsqueeze(-1)).squeeze(-1)


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy (B, H, A), nats, under logits (B, H, A, N). Of an autoregressive head: given the tokens before."""
    logs = (logits / temperature).log_softmax(-1)
    return -(logs.exp() * logs).sum(-1)


def cross_entropy(logits: Tensor, token: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B,): mean over the chunk of the cross entropy to the tokens, of whose mass ``smoothing`` is spread evenly."""
    logs = logits.log_softmax(-1)
    hit = logs.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    return -((1 - smoothing) * hit + smoothing * logs.mean(-1)).mean((-2, -1))


def draw_token(logits: Tensor, temperature: float) -> Tensor:
    """Tokens (...) drawn under logits (..., N)."""
    probability = (logits / temperature).softmax(-1)
    return torch.multinomial(probability.flatten(0, -2), 1).view(logits.shape[:-1])


def best_token(logits: Tensor) -> Tensor:
    """The most likely tokens (...) under logits (..., N)."""
    return logits.argmax(-1)
