"""Block-wise adaptive caching (BAC, Ji et al. 2025, arXiv 2506.13456): blocks of the transformer skip denoising steps.

Nothing is trained. On some observations one measures how much each block's update changes between steps; each block
gets the steps at which it is computed anew, so that the changes it misses are least (sec. 3, by dynamic programming);
at the other steps its last update is used again. Since errors grow where they pass a feed-forward block, the blocks
before it that miss most are computed at its steps, too ("bubbling union").

Legend: B rows; K sampling steps; N blocks; M computed steps of a block; H action chunk; A action size; W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .denoisers import Denoiser
from .dit import FeedForwardBlock, TransformerDenoiser
from .process import Process, denoise, predictor

Steps = tuple[int, ...]
"""The steps at which a block is computed, ascending from 0."""


@dataclass
class Recorder:
    """Keeps every block's update at every step: updates[k][n] is (B, H, W)."""

    network: TransformerDenoiser
    updates: list[list[Tensor]] = field(default_factory=list)

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """The network's own."""
        return self.network.embed_times(t, r)

    def __call__(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        self.updates.append([])
        return self.network(x, time, cond, self._keep)

    def _keep(self, index: int, compute: Callable[[], Tensor]) -> Tensor:
        self.updates[-1].append(compute())
        return self.updates[-1][-1]


@torch.no_grad()
def measure_changes(process: Process, network: TransformerDenoiser, noise: Tensor, cond: Tensor) -> Tensor:
    """(N, K, K): the relative change of a block's update from step i to step j, root mean square over rows.

    Args:
        noise: (B, D, H, A).  cond: (B, C); what the policy meets in use, some hundred rows.
    """
    recorder = Recorder(network)
    denoise(process, predictor(process, recorder, cond), noise)
    blocks = [torch.stack(step).flatten(1) for step in zip(*recorder.updates, strict=True)]
    return torch.stack([torch.cdist(x, x) / x.norm(dim=-1).clamp_min(1e-12) for x in blocks])


def missed(changes: Tensor, steps: Steps) -> float:
    """What a block with changes (K, K) misses: at every step, its change since it was last computed; summed."""
    ends = (*steps[1:], len(changes))
    return sum(float(changes[start, start:end].sum()) for start, end in zip(steps, ends, strict=True))


def best_steps(changes: Tensor, budget: int) -> Steps:
    """The ``budget`` steps, 0 among them, that miss least of changes (K, K)."""
    total = len(changes)
    # best[i]: (what steps before i miss, the steps), given that step i is computed next; one more step each round.
    best: dict[int, tuple[float, Steps]] = {0: (0.0, ())}
    for _ in range(budget - 1):
        best = {end: min(_extended(changes, best, end)) for end in range(1, total) if any(s < end for s in best)}
    return min(_extended(changes, best, total))[1]


def _extended(changes: Tensor, best: dict[int, tuple[float, Steps]], end: int) -> list[tuple[float, Steps]]:
    """Every way to compute one of the steps in ``best`` and use it until step ``end``."""
    return [
        (cost + float(changes[start, start:end].sum()), (*steps, start))
        for start, (cost, steps) in best.items()
        if start < end
    ]


def bubbled(
    schedule: Sequence[Steps], errors: Sequence[float], feed_forward: Sequence[bool], count: int
) -> list[Steps]:
    """The blocks with the ``count`` largest errors are also computed wherever a later feed-forward block is."""
    worst = sorted(range(len(schedule)), key=lambda n: -errors[n])[:count]
    united = list(schedule)
    for n in worst:
        later = [steps for m, steps in enumerate(schedule) if m > n and feed_forward[m]]
        united[n] = tuple(sorted(set(schedule[n]).union(*later)))
    return united


class CachedDenoiser(nn.Module):
    """A transformer whose blocks are computed at their own steps only; takes the network's place in a policy.

    It counts its calls: one decision is K of them. schedule: N tuples of steps.
    """

    def __init__(self, network: TransformerDenoiser, schedule: Sequence[Steps], steps: int) -> None:
        super().__init__()
        self.network, self.schedule, self.steps = network, tuple(schedule), steps
        self.step = 0
        self._updates: dict[int, Tensor] = {}

    @property
    def share(self) -> float:
        """The share of block evaluations that is left."""
        return sum(map(len, self.schedule)) / (len(self.schedule) * self.steps)

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        """The network's own."""
        return self.network.embed_times(t, r)

    def forward(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        out = self.network(x, time, cond, self._lookup)
        self.step = (self.step + 1) % self.steps
        return out

    def _lookup(self, index: int, compute: Callable[[], Tensor]) -> Tensor:
        if self.step in self.schedule[index]:
            self._updates[index] = compute()
        return self._updates[index]


def calibrate(
    process: Process, network: Denoiser, noise: Tensor, cond: Tensor, budget: int, unions: int = 2
) -> CachedDenoiser:
    """A cached form of a transformer, its blocks computed at ``budget`` of the K steps, some at more.

    Args:
        noise, cond: see :func:`measure_changes`.  unions: blocks whose steps are united with later ones.

    Raises:
        ValueError: another network than the transformer, or a budget outside 1 to K.
    """
    if not isinstance(network, TransformerDenoiser):
        raise ValueError(f"caching needs policy.network=transformer, not {type(network).__name__}")
    if not 1 <= budget <= process.steps:
        raise ValueError(f"budget={budget}: must lie in [1, {process.steps}], the number of denoising steps")
    changes = measure_changes(process, network, noise, cond)
    schedule = [best_steps(block, budget) for block in changes]
    errors = [missed(block, steps) for block, steps in zip(changes, schedule, strict=True)]
    kinds = [isinstance(block, FeedForwardBlock) for block in network.blocks]
    return CachedDenoiser(network, bubbled(schedule, errors, kinds, unions), process.steps)
