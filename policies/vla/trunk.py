"""What all compact VLAs share: image, instruction and measurements as a context that queries attend to.

The context attends to itself alone, so it is computed once, whatever is asked: a value, a chunk of actions, or one
token after the other. Queries pass through the same blocks, with the context's keys and values before their own. In
the last block nobody attends to what the context would become, so there its keys and values are all that is computed.

Legend: B rows; S context tokens (17 of the image, W words, 1 of the measurements); Q queries; E width; P heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from embodied.configuration import whole
from embodied.types import Obs, TaskSpec

from ..mlp import group_size
from .language import Language
from .tokenizer import INSTRUCTION
from .vision import Vision

IMAGE, MEASURED = "image", "policy"


@dataclass(frozen=True)
class TrunkConfig:
    """width: E, a multiple of heads.  blocks: of attention and perceptron.

    max_words: of the longest instruction.  unknown_words: buckets that words beyond the task's vocabulary share.
    """

    width: int = 160
    blocks: int = 4
    heads: int = 4
    max_words: int = 24
    unknown_words: int = 16

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "heads", "max_words", "unknown_words"):
            whole(f"policy.trunk.{name}", getattr(self, name))
        if self.width % self.heads:
            raise ValueError(f"policy.trunk.width={self.width}: must be a multiple of heads={self.heads}")


Pair = tuple[Tensor, Tensor]
"""Keys and values, (B, P, S, E / P) each."""


@dataclass
class Context:
    """What queries attend to. pairs: one of each block.  visible: (B, 1, 1, S) bool; None: everything is."""

    pairs: list[Pair]
    visible: Tensor | None

    @property
    def rows(self) -> int:
        """B. Not by ``len``, which would make a constant of it in an exported graph."""
        return self.pairs[0][0].shape[0]


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and beside a skip connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = (nn.Linear(width, size) for size in (width, 2 * width, width))
        # With ReLU a decision took less time, but cloning took more than twice the steps.
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, E) -> (B, P, S, E / P)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def pair(self, x: Tensor) -> Pair:
        """Keys and values of tokens (B, S, E)."""
        return self._pair(self.norm(x))

    def _pair(self, normed: Tensor) -> Pair:
        key, value = self.key_value(normed).chunk(2, -1)
        return self._split(key), self._split(value)

    def forward(self, x: Tensor, before: Pair | None = None, mask: Tensor | None = None) -> tuple[Tensor, Pair]:
        """Tokens (B, Q, E) that attend to ``before`` and to each other, where mask (., 1, ., S + Q) lets them.

        Returns:
            The tokens afterwards, and the keys and values they attended to.
        """
        normed = self.norm(x)
        key, value = self._pair(normed)
        if before is not None:
            key, value = torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        mixed = functional.scaled_dot_product_attention(self._split(self.query(normed)), key, value, mask)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.layers(self.norm_out(x)), (key, value)


class Trunk(nn.Module):
    """Reads the groups ``policy``, ``image`` and ``instruction``; what a task has not got is left out."""

    def __init__(self, spec: TaskSpec, config: TrunkConfig) -> None:
        super().__init__()
        width = self.width = config.width
        self.measured = nn.Linear(group_size(spec, MEASURED), width)
        self.language: Language | None = None
        if INSTRUCTION in spec.obs:
            self.language = Language(spec, width, config.unknown_words, config.max_words)
        self.vision: Vision | None = None
        if IMAGE in spec.obs:
            self.vision = Vision(spec.obs[IMAGE].shape, width, None if self.language is None else width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)

    def tokens(self, obs: Obs) -> tuple[Tensor, Tensor | None]:
        """What is known, (B, S, E), and where it says something, (B, 1, 1, S) bool or None: everywhere."""
        x = self.measured(obs[MEASURED].flatten(1).to(self.norm.weight.dtype)).unsqueeze(1)
        said = None if self.language is None else self.language(obs)
        if self.vision is not None:
            x = torch.cat([x, self.vision(obs[IMAGE], None if said is None else said.summary)], 1)
        if said is None:
            return x, None
        visible = functional.pad(said.mask, (x.shape[1], 0), value=True)
        return torch.cat([x, said.tokens], 1), visible[:, None, None]

    def encode(self, obs: Obs) -> Context:
        """The context of B observations."""
        x, visible = self.tokens(obs)
        pairs = []
        for block in self.blocks[:-1]:
            x, pair = block(x, None, visible)
            pairs.append(pair)
        return Context([*pairs, self.blocks[-1].pair(x)], visible)  # type: ignore[operator]

    def decode(self, queries: Tensor, context: Context, causal: bool = False) -> tuple[Tensor, Context]:
        """What queries (B, Q, E) find out, (B, Q, E), and the context with them in it.

        causal: a query sees those before it only; otherwise all see all.
        """
        visible = _grown(context.visible, queries.shape[1])
        mask = _causal(visible, context, queries.shape[1]) if causal else visible
        x, pairs = queries, []
        for block, before in zip(self.blocks, context.pairs, strict=True):
            x, pair = block(x, before, mask)
            pairs.append(pair)
        return self.norm(x), Context(pairs, visible)


def _grown(visible: Tensor | None, queries: int) -> Tensor | None:
    """With Q visible tokens more."""
    return None if visible is None else functional.pad(visible, (0, queries), value=True)


def _causal(visible: Tensor | None, context: Context, queries: int) -> Tensor | None:
    """The mask (., 1, Q, S + Q) of queries that see the context and those before them; None: one query sees all."""
    if queries == 1:
        return visible
    keys = context.pairs[0][0]
    size = keys.shape[2]
    order = torch.ones(queries, size + queries, dtype=torch.bool, device=keys.device).tril(size)
    return order if visible is None else visible & order
