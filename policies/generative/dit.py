"""A transformer over the action chunk with adaptive layer norm (DiT, Peebles and Xie 2023, sec. 3.2, adaLN-Zero).

Every block returns an update that is added to the tokens; a cache may hand out an earlier one instead (``caching.py``).

Legend: B rows; H action chunk, one token each; A action size; C condition size; E time embedding; W width; P heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from embodied.configuration import positive

from ..networks import linear
from .denoisers import Shape, TimeEmbedding, in_turn

Cache = Callable[[int, Callable[[], Tensor]], Tensor]
"""(index of the block, function that computes its update) -> the update (B, H, W) to use."""


@dataclass(frozen=True)
class TransformerConfig:
    """width: W, a multiple of heads.  depth: pairs of attention and feed-forward block.  time_size: E."""

    width: int = 128
    depth: int = 3
    heads: int = 4
    time_size: int = 32

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "time_size"):
            positive(f"policy.transformer.{name}", getattr(self, name))
        if self.width % self.heads:
            raise ValueError(f"policy.transformer.width={self.width}: must be a multiple of heads={self.heads}")


class AdaptiveBlock(nn.Module):
    """Normalises the tokens, shifts and scales them by the features, and gates its update, which starts at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """tokens (B, H, W), features (B, W) -> the update (B, H, W)."""
        shift, scale, gate = self.modulation(features).unsqueeze(1).chunk(3, -1)
        return gate * self.mix(self.norm(tokens) * (1 + scale) + shift)

    def mix(self, tokens: Tensor) -> Tensor:
        """(B, H, W) -> (B, H, W)."""
        raise NotImplementedError


class AttentionBlock(AdaptiveBlock):
    """Every token attends to every other. Written out, since the fused kernels have no forward-mode derivative."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width)
        self.heads = heads
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def mix(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.project(tokens).chunk(3, -1)
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


class FeedForwardBlock(AdaptiveBlock):
    """A perceptron on every token."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def mix(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens)


class TransformerDenoiser(nn.Module):
    """blocks: attention and feed-forward in turn."""

    def __init__(self, shape: Shape, config: TransformerConfig) -> None:
        super().__init__()
        chunk, actions = shape.chunk
        self.time = TimeEmbedding(config.time_size, shape.times)
        self.features = nn.Linear(config.time_size + shape.cond, config.width)
        self.embed = nn.Linear(actions, config.width)
        self.position = nn.Parameter(0.02 * torch.randn(chunk, config.width))
        blocks: list[nn.Module] = []
        for _ in range(config.depth):
            blocks += [AttentionBlock(config.width, config.heads), FeedForwardBlock(config.width)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.width)
        self.out = linear(config.width, actions, "orthogonal", shape.out_gain)

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """(b, E)."""
        return self.time(t, r)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor, cache: Cache | None = None) -> Tensor:
        features = functional.silu(self.features(torch.cat([in_turn(time, x.shape[0]), cond], -1)))
        tokens = self.embed(x) + self.position
        for index, block in enumerate(self.blocks):
            compute = partial(block, tokens, features)
            tokens = tokens + (compute() if cache is None else cache(index, compute))
        return self.out(self.norm(tokens))
