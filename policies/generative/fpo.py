"""FPO++: a ratio without a likelihood (McAllister et al. 2025, arXiv 2507.21053; Yi et al. 2026, arXiv 2602.02481).

The process's training loss stands in for the negative log-likelihood: with N times and noises (t_i, eps_i) drawn when a
decision is made and kept, ``r_i = exp(loss_old_i - loss_new_i)``. As in FPO++ every sample has its own ratio and clip:
it is a factor. Left out: FPO++'s asymmetric trust region, which would change the learner, and an entropy, which is
unknown.

Legend: B rows; N samples; D noise tensors; H action chunk; A action size; F = N likelihood factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.configuration import positive, whole
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from .base import GenerativeConfig, GenerativePolicy
from .process import normal


@dataclass(frozen=True)
class FPOConfig(GenerativeConfig):
    """samples: N.  max_log_ratio: limit of a sample's |loss_old - loss_new|, beyond which it has no gradient.

    logprob_reduction: of the squared errors over a chunk's elements.
    """

    process: str = "flow"
    samples: int = 8
    max_log_ratio: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("policy.samples", self.samples)
        positive("policy.max_log_ratio", self.max_log_ratio)


class FPOPolicy(GenerativePolicy):
    """The trace holds ``time`` (B, N), ``noise`` (B, N, H, A) and ``loss`` (B, N) of the samples.

    "Log-probabilities" are negative losses: their differences are log-ratios, they themselves are no densities.
    """

    config: FPOConfig

    def __init__(self, spec: TaskSpec, config: FPOConfig | None = None) -> None:
        config = config or FPOConfig()
        super().__init__(spec, config)
        self.set_factors(torch.ones(config.samples), torch.ones(config.samples))
        self.share = self.chunk[0] * self.chunk[1] if config.logprob_reduction == "sum" else 1

    def losses(self, cond: Tensor, action: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Of N samples a row: cond (B, C), action (B, H, A), time (B, N), noise (B, N, H, A) -> (B, N)."""
        samples = time.shape[1]
        cond, action = (x.repeat_interleave(samples, 0) for x in (cond, action))
        loss = self.process.matching_loss(self.network, action, cond, time.flatten(), noise.flatten(0, 1))
        return self.share * loss.unflatten(0, time.shape)

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Denoise actions (B, H, A) and look at their loss at N random times."""
        cond = self.condition(obs)
        action = self.chain(cond, self.draw_noise(cond, deterministic))[-1]
        rows, samples = action.shape[0], self.config.samples
        time = self.process.draw_times(rows * samples, cond).view(rows, samples)
        noise = normal((rows, samples, *self.chunk), cond)
        loss = self.losses(cond, action, time, noise)
        return Decision(action, -loss, self.value(obs), {"time": time, "noise": noise, "loss": loss})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Negative losses (B, N) of actions (B, H, A) at the same times and noises; the entropy is given as 0."""
        loss = self.losses(self.condition(obs), action, trace["time"], trace["noise"])
        limit = self.config.max_log_ratio
        log_prob = (trace["loss"] - loss).clamp(-limit, limit) - trace["loss"]
        return Evaluation(log_prob, torch.zeros_like(log_prob), self.value(obs))
