"""A temporal U-Net over the action chunk (Janner et al. 2022, appendix C; conditioned as by Chi et al. 2023, sec. III).

Legend: B rows; H action chunk; A action size; C condition size; E time embedding; D channels of a level; L its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks import linear
from .denoisers import Shape, TimeEmbedding, in_turn


@dataclass(frozen=True)
class UNetConfig:
    """channels: of the levels, each half as long as the one before.  kernel_size: odd.  groups: of the normalisation.

    time_size: E.
    """

    channels: tuple[int, ...] = (64, 128)
    kernel_size: int = 5
    groups: int = 8
    time_size: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or any(size < 1 or size % self.groups for size in self.channels):
            raise ValueError(
                f"policy.unet.channels={list(self.channels)}: must be multiples of groups={self.groups}, at least one"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"policy.unet.kernel_size={self.kernel_size}: must be odd")


class ResidualBlock(nn.Module):
    """Two convolutions with a residual path; the features (B, G) scale and shift between them (FiLM)."""

    def __init__(self, size_in: int, size_out: int, features: int, config: UNetConfig) -> None:
        super().__init__()
        kernel, padding = config.kernel_size, config.kernel_size // 2
        self.first = nn.Conv1d(size_in, size_out, kernel, padding=padding)
        self.second = nn.Conv1d(size_out, size_out, kernel, padding=padding)
        self.norms = nn.ModuleList([nn.GroupNorm(config.groups, size_out) for _ in range(2)])
        self.film = nn.Linear(features, 2 * size_out)
        self.skip = nn.Conv1d(size_in, size_out, 1) if size_in != size_out else nn.Identity()

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x (B, size_in, L) -> (B, size_out, L)."""
        scale, shift = self.film(features).unsqueeze(-1).chunk(2, 1)
        h = functional.silu(self.norms[0](self.first(x))) * (1 + scale) + shift
        return functional.silu(self.norms[1](self.second(h))) + self.skip(x)


class UNetDenoiser(nn.Module):
    """Halves the chunk's length between levels and doubles it on the way back; any H, also 1."""

    def __init__(self, shape: Shape, config: UNetConfig) -> None:
        super().__init__()
        actions, features = shape.chunk[1], config.time_size + shape.cond
        sizes = [actions, *config.channels]
        self.time = TimeEmbedding(config.time_size, shape.times)
        pairs = list(pairwise(sizes))
        self.down = nn.ModuleList([ResidualBlock(a, b, features, config) for a, b in pairs])
        self.shrink = nn.ModuleList([nn.Conv1d(b, b, 3, stride=2, padding=1) for _, b in pairs[:-1]])
        self.middle = ResidualBlock(sizes[-1], sizes[-1], features, config)
        self.up = nn.ModuleList([ResidualBlock(b + a, a, features, config) for a, b in reversed(pairs[1:])])
        self.out = linear(sizes[1], actions, "orthogonal", shape.out_gain)

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """(b, E)."""
        return self.time(t, r)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        features, h, skips = torch.cat([in_turn(time, x.shape[0]), cond], -1), x.transpose(1, 2), []
        for level, block in enumerate(self.down):
            if level:
                skips.append(h)
                h = self.shrink[level - 1](h)
            h = block(h, features)
        h = self.middle(h, features)
        for block in self.up:
            skip = skips.pop()
            h = functional.interpolate(h, size=skip.shape[-1], mode="nearest")
            h = block(torch.cat([h, skip], 1), features)
        return self.out(h.transpose(1, 2))
