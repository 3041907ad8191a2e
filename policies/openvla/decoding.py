"""Two ways from what is seen to the tokens of a chunk; each says its hidden states once, for deciding and for judging.

``autoregressive``: one after the other, each knowing those before it (OpenVLA). ``parallel``: all at once, in the place
of empty embeddings that attend to everything, as everything to them (OpenVLA-OFT, Kim et al. 2025, arXiv 2502.19645;
in its version of transformers one mask for the whole sequence, whose last word is ``</s>``).

Hidden state i is that of the position before token i, from which the token is predicted.

Legend: B rows; C = H A tokens of a chunk; E width; N action tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .network import OpenVLANetwork, Seen

Choose = Callable[[Tensor], Tensor]
"""Logits (..., N) -> tokens (...)."""


class Decoding(Protocol):
    """count: C."""

    def first(self, network: OpenVLANetwork, seen: Seen) -> Tensor:
        """The hidden state (B, E) that the first token is predicted from."""

    def hidden(self, network: OpenVLANetwork, seen: Seen, token: Tensor) -> Tensor:
        """(B, C, E) for tokens (B, C)."""

    def decide(self, network: OpenVLANetwork, seen: Seen, choose: Choose) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, C), chosen under logits (B, C, N), and the first hidden state (B, E)."""


class Autoregressive:
    """Judging shows all tokens at once; deciding keeps keys and values of what came before."""

    def __init__(self, count: int, stop: int) -> None:
        self.count = count

    def first(self, network: OpenVLANetwork, seen: Seen) -> Tensor:
        """See :class:`Decoding`."""
        return network.read(seen, 1)[:, 0]

    def hidden(self, network: OpenVLANetwork, seen: Seen, token: Tensor) -> Tensor:
        """See :class:`Decoding`."""
        return network.read(seen.with_tail(network.embed(network.word(token[:, :-1]))), self.count)

    def decide(self, network: OpenVLANetwork, seen: Seen, choose: Choose) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Decoding`."""
        found, cache = network.read_on(seen, None)
        first, tokens, logits = found[:, 0], list[Tensor](), list[Tensor]()
        while len(tokens) < self.count:
            logits.append(network.logits(found))
            tokens.append(choose(logits[-1]))
            if len(tokens) < self.count:
                seen = seen.with_tail(network.embed(network.word(tokens[-1])))
                found, cache = network.read_on(seen, cache)
        return torch.cat(tokens, 1), torch.cat(logits, 1), first


class Parallel:
    """Given what is seen, the tokens are independent."""

    def __init__(self, count: int, stop: int) -> None:
        """stop: the id of ``</s>``."""
        self.count, self.stop = count, stop

    def first(self, network: OpenVLANetwork, seen: Seen) -> Tensor:
        """See :class:`Decoding`."""
        return self.hidden(network, seen)[:, 0]

    def hidden(self, network: OpenVLANetwork, seen: Seen, token: Tensor | None = None) -> Tensor:
        """See :class:`Decoding`."""
        rows, _, width = seen.embeddings.shape
        empty = seen.embeddings.new_zeros(rows, self.count, width)
        stop = network.embed(torch.full((rows, 1), self.stop, device=empty.device))
        found = network.read(seen.with_tail(torch.cat([empty, stop], 1)), self.count + 2, causal=False)
        return found[:, : self.count]

    def decide(self, network: OpenVLANetwork, seen: Seen, choose: Choose) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`Decoding`."""
        found = self.hidden(network, seen)
        logits = network.logits(found)
        return choose(logits), logits, found[:, 0]


DECODINGS: dict[str, type[Autoregressive] | type[Parallel]] = {"autoregressive": Autoregressive, "parallel": Parallel}
