"""What pi0 has read as the condition of a generative policy, and its expert as the denoiser.

The condition of a row is one vector, so that every rule of ``policies/generative`` takes it: summary and state, which
critic and noise network see; then noise for the padding, mask, keys and values.

The network knows actions of M elements, of which a task has A. In pretraining the others were 0, so at the suite's time
t they are ``(1 - t) noise``: their way is known, and they take no part in the chain and its likelihood.

Legend: B rows; C condition size; S tokens of images and prompt; W words at most; H action chunk; A action size;
M padded action size; D padded state size; E width; L layers; G heads of keys and values; d numbers of a head; b times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from embodied.types import Obs, TaskSpec

from ..foundation.prompts import Prompts
from ..generative.denoisers import in_turn
from ..mlp import group_size
from ..vla.tokenizer import INSTRUCTION
from ..vla.trunk import IMAGE, MEASURED
from .layout import Published
from .network import Pi0Network, Read

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class Packing:
    """Tensors of a row, side by side. shapes: without B, of summary, state, padding, mask, pairs."""

    def __init__(self, published: Published, chunk: tuple[int, int], tokens: int) -> None:
        language = published.language
        pairs = (language.depth, 2, language.pairs, tokens, language.head)
        self.padding = (chunk[0], published.action - chunk[1])
        self.shapes = ((language.width,), (published.state,), self.padding, (tokens,), pairs)
        self.sizes = [math.prod(shape) for shape in self.shapes]

    def pack(self, parts: Parts, dtype: torch.dtype) -> Tensor:
        """(B, C)."""
        return torch.cat([part.flatten(1).to(dtype) for part in parts], 1)

    def unpack(self, cond: Tensor) -> list[Tensor]:
        """The parts of (B, C), each (B, ...)."""
        return [x.unflatten(1, shape) for x, shape in zip(cond.split(self.sizes, 1), self.shapes, strict=True)]


class Reader:
    """The encoder: obs -> (B, C).  size: of summary and state, with which a condition begins.

    A decision reads once, and critic and chain share it: see :meth:`holding`.
    """

    def __init__(
        self, spec: TaskSpec, network: Pi0Network, prompts: Prompts, chunk: tuple[int, int], words: int
    ) -> None:
        self.network, self.prompts, self.words = network, prompts, words
        self.state = _state_size(spec, network.published)
        tokens = _views(spec) * network.published.patches + words
        self.packing = Packing(network.published, chunk, tokens)
        self.size = sum(self.packing.sizes[:2])
        self._held: Tensor | None = None

    def __call__(self, obs: Obs, dtype: torch.dtype) -> Tensor:
        """In ``dtype``, that of the chain; the noise of the padding is 0 unless a decision says otherwise."""
        if self._held is not None:
            return self._held
        return self.read(obs, dtype, torch.zeros(self.packing.padding, device=obs[IMAGE].device))

    def read(self, obs: Obs, dtype: torch.dtype, padding: Tensor) -> Tensor:
        """With noise (B, H, M - A), or (H, M - A) for all rows."""
        image = obs[IMAGE] if obs[IMAGE].dim() == 5 else obs[IMAGE].unsqueeze(1)
        read = self.network.read(image, *self.prompts(obs[INSTRUCTION], self.words))
        state = obs[MEASURED].flatten(1)
        state = functional.pad(state, (0, self.packing.sizes[1] - state.shape[1]))
        noise = padding.expand(len(image), *self.packing.padding)
        return self.packing.pack((read.summary, state, noise, read.mask, read.pairs), dtype)

    @contextmanager
    def holding(self, obs: Obs, dtype: torch.dtype, padding: Tensor) -> Iterator[Tensor]:
        """Whoever asks meanwhile gets this condition."""
        self._held = self.read(obs, dtype, padding)
        try:
            yield self._held
        finally:
            self._held = None


class Expert:
    """The denoiser: the suite's velocity, action minus noise, of a task's A elements."""

    def __init__(self, network: Pi0Network, packing: Packing) -> None:
        self.network, self.packing = network, packing

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """Published times (b, 1) of the suite's (b,)."""
        return (1 - t).unsqueeze(-1)

    def __call__(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        """(B, H, A)."""
        _, state, padding, mask, pairs = self.packing.unpack(cond)
        time = in_turn(time, len(x))
        whole = torch.cat([x, time.unsqueeze(-1) * padding], -1)
        read = Read(mask > 0, pairs, state)
        velocity = self.network.velocity(read, state, whole, time.squeeze(-1))
        return -velocity[..., : x.shape[-1]].to(x.dtype)


def _views(spec: TaskSpec) -> int:
    """V."""
    for group in (IMAGE, INSTRUCTION, MEASURED):
        if group not in spec.obs:
            raise ValueError(f"task {spec.name!r} has no observation group {group!r}; it has {', '.join(spec.obs)}")
    shape = spec.obs[IMAGE].shape
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise ValueError(f"observation group 'image' has shape {shape}: must be (h, w, 3) or (views, h, w, 3)")
    return shape[0] if len(shape) == 4 else 1


def _state_size(spec: TaskSpec, published: Published) -> int:
    size = group_size(spec, MEASURED)
    if size > published.state or spec.action.size > published.action:
        raise ValueError(
            f"task {spec.name!r} has {size} measurements and {spec.action.size} actions; "
            f"this checkpoint takes {published.state} and {published.action} at most"
        )
    return size
