"""The loss of proximal policy optimisation, together with its derivative by what a policy says of a decision.

The graph of a policy ends in its :class:`~embodied.types.Evaluation`. What follows is a formula whose derivative is
known: it is written out, so that small minibatches do not wait for a graph of 40 tiny operations.

Legend: B decisions; F likelihood factors of a decision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .ppo_config import PPOConfig
from .rollout import Batch
from .types import Evaluation


@dataclass
class Loss:
    """The parts of the loss, detached scalars, and its derivative.

    entropy_coef, value_coef: ``total = policy - entropy_coef * entropy + value_coef * value + auxiliary``.
    slope: the derivative of the total by the log_prob (B, F), entropy (B, F), value (B,) and auxiliary (B,) of the
        evaluation; None where it is zero throughout.
    """

    policy: Tensor
    value: Tensor
    entropy: Tensor
    kl: Tensor
    clip_fraction: Tensor
    auxiliary: Tensor
    entropy_coef: float
    value_coef: float
    slope: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]

    @property
    def total(self) -> Tensor:
        """The loss, a detached scalar."""
        return self.policy - self.entropy_coef * self.entropy + self.value_coef * self.value + self.auxiliary

    @property
    def parts(self) -> Tensor:
        """(6,): policy, value, entropy, kl, clip_fraction, auxiliary."""
        return torch.stack([self.policy, self.value, self.entropy, self.kl, self.clip_fraction, self.auxiliary])

    def ends(self, evaluation: Evaluation, weight: float | Tensor = 1.0) -> tuple[list[Tensor], list[Tensor]]:
        """Where a policy's graph ends, and ``weight`` times the derivative of the total by that."""
        told = (evaluation.log_prob, evaluation.entropy, evaluation.value, evaluation.auxiliary)
        pairs = [
            (x, d) for x, d in zip(told, self.slope, strict=True) if x is not None and d is not None and x.requires_grad
        ]
        plain = isinstance(weight, float) and weight == 1.0
        return [x for x, _ in pairs], [d if plain else d * weight for _, d in pairs]

    def backward(self, evaluation: Evaluation, weight: float | Tensor = 1.0) -> None:
        """Add ``weight`` times the gradient of the total to those of the parameters behind the evaluation."""
        torch.autograd.backward(*self.ends(evaluation, weight))


@torch.no_grad()
def ppo_loss(evaluation: Evaluation, batch: Batch, config: PPOConfig, weight: Tensor, clip: Tensor) -> Loss:
    """The clipped surrogate of PPO (Schulman et al. 2017, eq. 7 and 9), with likelihood factors.

    Every factor f of a decision has its own ratio ``r_f = exp(log_prob_f - old_log_prob_f)``, clipped to
    ``1 +- clip_range * clip_f``. The surrogate of a decision is the mean of its factors' surrogates weighted by
    ``weight_f`` (so its scale does not depend on F), as is its entropy. All means are over the decisions that count.

    The KL divergence from the old policy is estimated by the mean over original decisions (not mirror images) of
    ``sum_f (r_f - 1) - log r_f`` (Schulman, "Approximating KL divergence", 2020): unbiased, never negative.

    Args:
        evaluation: log_prob and entropy (B, F), value and auxiliary (B,) of the policy of now.
        batch: log_prob (B, F); value, advantage, target (B,); mask, original (B,) bool or None.
        weight, clip: (F,), the policy's factor_weight and factor_clip.
    """
    share, reach, mask = weight / weight.sum(), config.clip_range * clip, batch.mask
    counted = batch.value.numel() if mask is None else mask.sum().clamp_min(1).to(weight)
    each = 1 / counted  # a decision's share of a mean
    log_ratio = evaluation.log_prob - batch.log_prob
    ratio = log_ratio.exp()
    away = ratio - 1
    advantage = batch.advantage.unsqueeze(-1)
    free, held = ratio * advantage, ratio.clamp(1 - reach, 1 + reach) * advantage
    policy = -_mean((torch.minimum(free, held) * share).sum(-1), mask)
    by_log_prob = _counted(torch.where(free <= held, free, 0.0), mask) * (-each * share)
    entropy, by_entropy = _mean((evaluation.entropy * share).sum(-1), mask), None
    if config.entropy_coef:
        by_entropy = _counted((-config.entropy_coef * each * share).expand_as(evaluation.entropy), mask)
    value, by_value = torch.zeros_like(policy), None
    if config.advantage == "gae":
        errors, by_value = value_loss(
            evaluation.value, batch.value, batch.target, config.value_clip, config.value_huber
        )
        value, by_value = _mean(errors, mask), _counted(by_value, mask) * (config.value_coef * each)
    auxiliary, by_auxiliary = torch.zeros_like(policy), None
    if evaluation.auxiliary is not None:
        auxiliary = _mean(evaluation.auxiliary, mask)
        by_auxiliary = _counted(torch.ones_like(evaluation.auxiliary), mask) * each
    kl = _mean((away - log_ratio).sum(-1), _both(mask, batch.original))
    moved = _mean((away.abs() > reach).to(ratio.dtype).mean(-1), mask)
    coefficients = config.entropy_coef, config.value_coef
    slope = by_log_prob, by_entropy, by_value, by_auxiliary
    return Loss(policy, value, entropy, kl, moved, auxiliary, *coefficients, slope)


def value_loss(
    value: Tensor, old_value: Tensor, target: Tensor, value_clip: float | None, value_huber: float | None = None
) -> tuple[Tensor, Tensor]:
    """Squared error (B,) of the value, and its derivative by the value (B,).

    value_clip: the larger of the error and that of the value kept within so much of the old one.
    value_huber: d; an error e beyond it counts 2 d |e| - d^2.
    """
    loss, slope = _squared(value - target, value_huber)
    if value_clip is None:
        return loss, slope
    step = value - old_value
    held, held_slope = _squared(old_value + step.clamp(-value_clip, value_clip) - target, value_huber)
    held_slope = torch.where(step.abs() <= value_clip, held_slope, 0.0)
    return torch.maximum(loss, held), torch.where(loss >= held, slope, held_slope)


def _squared(error: Tensor, huber: float | None) -> tuple[Tensor, Tensor]:
    """The error's square, linear beyond ``huber``, and its derivative."""
    if huber is None:
        return error.square(), 2 * error
    near = error.clamp(-huber, huber)
    return near * (2 * error - near), 2 * near


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the decisions that count, a scalar."""
    if mask is None:
        return x.mean()
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp_min(1)


def _counted(slope: Tensor, mask: Tensor | None) -> Tensor:
    """The slope (B,) or (B, F), zero at decisions that do not count."""
    if mask is None:
        return slope
    return torch.where(mask if slope.dim() == mask.dim() else mask.unsqueeze(-1), slope, 0.0)


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b
