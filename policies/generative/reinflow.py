"""ReinFlow: a learnt, bounded noise on every step makes the flow's chain a likelihood (Zhang et al. 2025; Flow-Noise).

Step k is N(mean_k, sigma(t_k, observation)^2); the chain's log-probability is the sum over its steps, or, under the
reduction ``mean``, divided by their number and that of the elements, as published. The noise network is dropped at
evaluation. On a process with noise of its own the variances add. The noise does not depend on the chain's
state, so all steps' deviations come of one evaluation.

Legend: B rows; K sampling steps; H action chunk; A action size; C condition size; F = 1 likelihood factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from embodied.configuration import positive, within
from embodied.types import TaskSpec

from ..networks import linear, mlp
from .base import GenerativeConfig
from .chain import JointChainPolicy
from .denoisers import TimeWaves


@dataclass(frozen=True)
class ReinFlowConfig(GenerativeConfig):
    """process: ``flow`` unless told otherwise.

    min_noise, max_noise: bounds of the learnt deviation, in policy units.
    noise_hidden: widths of the noise network.
    decay_start: fraction of training after which the upper bound falls, in equal steps, to
    ``min_noise + decay_to * (max_noise - min_noise)`` at its end; 1: never.
    """

    process: str = "flow"
    logprob_reduction: str = "mean"
    min_noise: float = 0.08
    max_noise: float = 0.16
    noise_hidden: tuple[int, ...] = (64, 64)
    decay_start: float = 1.0
    decay_to: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "noise_hidden", tuple(self.noise_hidden))
        if not self.noise_hidden:
            raise ValueError("policy.noise_hidden is empty: at least one layer")
        positive("policy.min_noise", self.min_noise)
        if self.max_noise <= self.min_noise:
            raise ValueError(f"policy.max_noise={self.max_noise}: must exceed min_noise={self.min_noise}")
        within("policy.decay_start", self.decay_start, 0.0, 1.0)
        within("policy.decay_to", self.decay_to, 0.0, 1.0)


class NoiseNetwork(nn.Module):
    """Deviations between bounds, from the times and the condition; they start near the bounds' geometric mean.

    The two meet in the last hidden layer, so that those before it are computed once a decision, not K times.
    """

    def __init__(self, cond: int, chunk: tuple[int, int], hidden: tuple[int, ...], time_size: int = 16) -> None:
        super().__init__()
        self.chunk, width = chunk, hidden[-1]
        self.time = TimeWaves(time_size)
        self.seen = mlp(cond, hidden[:-1], width, "silu", out_gain=2**0.5)
        self.told = nn.Linear(self.time.size, width, bias=False)
        self.out = linear(width, chunk[0] * chunk[1], "orthogonal", 0.01)

    def forward(self, t: Tensor, cond: Tensor, low: float, high: Tensor) -> Tensor:
        """t (K,), cond (B, C), bounds low and high -> (B, K, H, A)."""
        hidden = functional.silu(self.seen(cond).unsqueeze(1) + self.told(self.time(t)))
        share = self.out(hidden).sigmoid()
        return low * (share * (high / low).log()).exp().unflatten(-1, self.chunk)


class ReinFlowPolicy(JointChainPolicy):
    """noise_range: buffer, the share of ``max_noise - min_noise`` that is still open."""

    config: ReinFlowConfig
    noise_range: Tensor

    def __init__(self, spec: TaskSpec, config: ReinFlowConfig | None = None) -> None:
        config = config or ReinFlowConfig()
        super().__init__(spec, config)
        self.noise = NoiseNetwork(self.encoder.size, self.chunk, config.noise_hidden)
        self.register_buffer("noise_range", torch.ones(()))

    def set_progress(self, fraction: float) -> None:
        """Set the noise's upper bound to that of a fraction in [0, 1] of training; between updates only."""
        start, end = self.config.decay_start, self.config.decay_to
        late = 0.0 if fraction <= start else (fraction - start) / (1 - start)
        self.noise_range.fill_(1 - late * (1 - end))

    def deviations(self, cond: Tensor) -> Tensor:
        """Learnt ones, and the process's own where it has any: (B, K, H, A)."""
        low, high = self.config.min_noise, self.config.max_noise
        t = cond.new_tensor([k / self.process.steps for k in range(self.process.steps)])
        std = self.noise(t, cond, low, low + self.noise_range * (high - low))
        if not any(self.process.std):
            return std
        return (std.square() + cond.new_tensor(self.process.std).square().view(-1, 1, 1)).sqrt()

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        span = self.config.max_noise - self.config.min_noise
        return {"noise/upper_bound": self.config.min_noise + self.noise_range.item() * span}
