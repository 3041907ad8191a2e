"""DPPO: each of the last denoising steps is a decision of its own (Ren et al. 2024, arXiv 2409.00588).

The reward and its advantage belong to environment steps; the advantage of denoising step i of J counts
``gamma_d^(J - 1 - i)`` times (sec. 4), and its ratio may move the further the later it comes (appendix). Earlier steps
are those of a frozen copy of the pretrained network. Deviations have floors, apart for drawing and for judging.

Legend: B rows; K sampling steps; J fine-tuned ones; H action chunk; A action size; F = J likelihood factors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from embodied.configuration import positive, whole, within
from embodied.types import Obs, TaskSpec

from .base import GenerativeConfig
from .chain import ChainPolicy
from .denoisers import Denoiser
from .process import Predict, predictor


@dataclass(frozen=True)
class DPPOConfig(GenerativeConfig):
    """finetune_steps: J; None: all K.  denoising_discount: gamma_d.

    clip_base, clip_rate: the first fine-tuned step's clip as a share of the last one's, and how steeply it rises.
    min_sampling_std, min_logprob_std: floors of the deviation in policy units, for drawing and for judging.
    log_prob_low, log_prob_high: limits of an element's log-density, beyond which it has no gradient.
    logprob_reduction: ``mean`` as published; the clip range is of that scale.
    """

    logprob_reduction: str = "mean"
    finetune_steps: int | None = None
    denoising_discount: float = 0.99
    clip_base: float = 0.1
    clip_rate: float = 3.0
    min_sampling_std: float = 0.1
    min_logprob_std: float = 0.1
    log_prob_low: float = -5.0
    log_prob_high: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("policy.denoising_discount", self.denoising_discount, 0.0, 1.0)
        within("policy.clip_base", self.clip_base, 0.0, 1.0)
        for name in ("denoising_discount", "clip_base", "clip_rate", "min_sampling_std", "min_logprob_std"):
            positive(f"policy.{name}", getattr(self, name))
        if self.finetune_steps is not None:
            whole("policy.finetune_steps", self.finetune_steps)


def denoising_weights(steps: int, discount: float) -> Tensor:
    """(J,): ``discount^(J - 1 - i)``; the last step counts 1."""
    return torch.tensor([discount ** (steps - 1 - i) for i in range(steps)])


def clip_schedule(steps: int, base: float, rate: float) -> Tensor:
    """(J,): from base to 1, exponentially in the step with this rate; a single step has 1."""
    if steps == 1:
        return torch.ones(1)
    rise = [math.expm1(rate * i / (steps - 1)) / math.expm1(rate) for i in range(steps)]
    return torch.tensor([base + (1 - base) * share for share in rise])


class DPPOPolicy(ChainPolicy):
    """frozen: encoder and network of the K - J steps that are not fine-tuned; absent where J = K."""

    config: DPPOConfig

    def __init__(self, spec: TaskSpec, config: DPPOConfig | None = None) -> None:
        config = config or DPPOConfig()
        super().__init__(spec, config, config.finetune_steps)
        if self.first < 0:
            raise ValueError(f"policy.finetune_steps={self.steps}: the process has only {self.process.steps} steps")
        self.frozen: nn.ModuleDict | None = None
        if self.first:
            parts = {"encoder": copy.deepcopy(self.encoder), "network": copy.deepcopy(self.network)}
            self.frozen = nn.ModuleDict(parts).requires_grad_(False)
        weight = denoising_weights(self.steps, config.denoising_discount)
        self.set_factors(weight, clip_schedule(self.steps, config.clip_base, config.clip_rate))

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take encoder and network, also for the frozen steps."""
        super().load_pretrained(state)
        if self.frozen is not None:
            self.frozen["encoder"].load_state_dict(self.encoder.state_dict())
            self.frozen["network"].load_state_dict(self.network.state_dict())

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """The process's training loss (B,); refused where some steps belong to a frozen network, which cannot learn."""
        if self.frozen is not None:
            raise ValueError("imitation trains all denoising steps: use policy.finetune_steps=null for it")
        return super().imitation_loss(obs, action)

    def condition(self, obs: Obs) -> Tensor:
        """(B, C); with frozen steps (B, 2 C), what their encoder says comes last."""
        cond = super().condition(obs)
        return cond if self.frozen is None else torch.cat([cond, self.frozen["encoder"](obs, cond.dtype)], -1)

    def predictor(self, cond: Tensor) -> Predict:
        """The frozen network along the first steps of a chain, the learning one along the others."""
        if self.frozen is None:
            return super().predictor(cond)
        now, frozen = cond.chunk(2, -1)
        early = predictor(self.process, cast(Denoiser, self.frozen["network"]), frozen)
        late = super().predictor(now)
        return lambda x, k: (early if k < self.first else late)(x, k)

    def deviations(self, cond: Tensor) -> Tensor:
        """The process's own, with a floor: (1, K, 1, 1)."""
        return cond.new_tensor(self.process.std).clamp_min(self.config.min_sampling_std).view(1, -1, 1, 1)

    def likelihood_std(self, std: Tensor) -> Tensor:
        """With a floor of its own."""
        return std.clamp_min(self.config.min_logprob_std)

    def log_density(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Of each element, within limits."""
        return super().log_density(x, mean, std).clamp(self.config.log_prob_low, self.config.log_prob_high)
