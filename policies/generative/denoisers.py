"""What every denoiser has in common, and the perceptron among them.

The times of a whole chain are embedded at once: ``network.embed_times(t, r)`` makes (b, E) of times (b,), and
``network(x, time, cond) -> (B, H, A)`` takes rows of that beside noisy action chunks and what the robot observes. b
divides B, and the times take turns: row i of x is at time i mod b. So b is 1 where all rows share a time, B where each
has its own, and K where x holds K states of every chain.

Legend: B rows; b times; H action chunk; A action size; C condition size; E size of an embedded time.
t, r (b,) in [0, 1]; x (B, H, A); time (b, E); cond (B, C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from embodied.configuration import choice, positive

from ..networks import ACTIVATIONS, linear, mlp

SHORTEST_PERIOD, LONGEST_PERIOD = 0.5, 4.0
"""Of the time embedding's waves. Not shorter, since mean flow learns from the derivative by time: with periods down to
0.04 it diverged in trials, while no process learnt better with them."""


class Denoiser(Protocol):
    """A network between noisy and clean chunks."""

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """Times as (b, E). r: for processes with two times (shortcut models, mean flow), the step size or the time that
        the step leads to."""

    def __call__(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        """(B, H, A)."""


def in_turn(time: Tensor, rows: int) -> Tensor:
    """Times (b, E) for so many rows: (rows, E), in turn."""
    return time.expand(rows, -1) if len(time) == 1 else time.repeat(rows // len(time), 1)


@dataclass(frozen=True)
class Shape:
    """What sizes a denoiser.

    chunk: (H, A).  cond: C.  times: 1, or 2 for a process with a second time.
    out_gain: of the output layer's weights, whose bias starts at 0; a small one makes the output start near 0.
    """

    chunk: tuple[int, int]
    cond: int
    times: int = 1
    out_gain: float = 1.0


class TimeWaves(nn.Module):
    """Sines and cosines of the times: (b,) and perhaps (b,) -> (b, times * E)."""

    periods: Tensor

    def __init__(self, size: int, times: int = 1) -> None:
        super().__init__()
        if size < 2 or size % 2:
            raise ValueError(f"policy.*.time_size={size}: must be an even number above 0")
        self.times, self.size = times, times * size
        exponents = torch.linspace(math.log(SHORTEST_PERIOD), math.log(LONGEST_PERIOD), size // 2)
        self.register_buffer("periods", exponents.exp(), persistent=False)

    def forward(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        given = [t] if r is None else [t, r]
        if len(given) != self.times:
            raise ValueError(f"this denoiser is made for {self.times} time(s) and was given {len(given)}")
        phases = 2 * math.pi * torch.stack(given, -1).unsqueeze(-1) / self.periods
        return torch.cat([phases.sin(), phases.cos()], -1).flatten(1)


class TimeEmbedding(nn.Module):
    """Waves, then a perceptron: (b,) and perhaps (b,) -> (b, E)."""

    def __init__(self, size: int, times: int = 1) -> None:
        super().__init__()
        self.waves = TimeWaves(size, times)
        self.layers = nn.Sequential(nn.Linear(self.waves.size, 2 * size), nn.SiLU(), nn.Linear(2 * size, size))

    def forward(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        return self.layers(self.waves(t, r))


@dataclass(frozen=True)
class MLPDenoiserConfig:
    """hidden: layer widths.  activation: elu, relu, tanh, silu or gelu.  time_size: E."""

    hidden: tuple[int, ...] = (256, 256, 256)
    activation: str = "silu"
    time_size: int = 16

    def __post_init__(self) -> None:
        choice("policy.mlp.activation", self.activation, ACTIVATIONS)
        positive("policy.mlp.time_size", self.time_size)
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if not self.hidden:
            raise ValueError("policy.mlp.hidden is empty: at least one layer")


class MLPDenoiser(nn.Module):
    """A perceptron on the chunk and the condition; the time enters the first layer."""

    def __init__(self, shape: Shape, config: MLPDenoiserConfig) -> None:
        super().__init__()
        self.chunk = shape.chunk
        size, width = shape.chunk[0] * shape.chunk[1], config.hidden[0]
        self.time = TimeEmbedding(config.time_size, shape.times)
        self.first = linear(size + shape.cond, width, "orthogonal", 2**0.5)
        self.first_time = nn.Linear(config.time_size, width, bias=False)
        self.rest = mlp(width, config.hidden[1:], size, config.activation, "orthogonal", shape.out_gain)
        self.activation = ACTIVATIONS[config.activation]()

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """What the times add to the first layer, (b, width)."""
        return self.first_time(self.time(t, r))

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        h = self.first(torch.cat([x.flatten(1), cond], -1))
        h = h + (time if len(time) == 1 else in_turn(time, x.shape[0]))
        return self.rest(self.activation(h)).unflatten(-1, self.chunk)
