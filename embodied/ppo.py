"""Proximal policy optimisation (Schulman et al. 2017) for any policy that states a likelihood.

It follows rsl_rl's recipe for locomotion (adaptive learning rate, actor and critic clipped apart) and departs from it
where ``ARCHITECTURE.md`` (section 4) says so: truncated rows bootstrap from ``value(final_obs)``, the learning rate
adapts to the sample KL, statistics cover active rows of all ranks, likelihoods may have several factors.

Legend: B decisions; F likelihood factors of a decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from . import distributed, returns, schedules
from .normalize import RewardScaler, RunningMoments
from .ppo_config import PPOConfig as PPOConfig
from .rollout import Batch, Rollout, minibatches, pieces
from .runtime import threads_for
from .symmetry import MirrorImages
from .types import Evaluation, Policy, Symmetry


@dataclass
class Loss:
    """The loss, a scalar to minimise, and its parts (detached scalars)."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    kl: Tensor
    clip_fraction: Tensor


def ppo_loss(evaluation: Evaluation, batch: Batch, config: PPOConfig, weight: Tensor, clip: Tensor) -> Loss:
    """The clipped surrogate of PPO (Schulman et al. 2017, eq. 7 and 9), with likelihood factors.

    Every factor f of a decision has its own ratio ``r_f = exp(log_prob_f - old_log_prob_f)``, clipped to
    ``1 +- clip_range * clip_f``. The surrogate of a decision is the mean of its factors' surrogates weighted by
    ``weight_f`` (so its scale does not depend on F), as is its entropy. All means are over the decisions that count.

    The KL divergence from the old policy is estimated by the mean over original decisions (not mirror images) of
    ``sum_f (r_f - 1) - log r_f`` (Schulman, "Approximating KL divergence", 2020): unbiased, never negative.

    Args:
        evaluation: log_prob and entropy (B, F), value (B,) of the policy of now.
        batch: log_prob (B, F); value, advantage, target (B,); mask, original (B,) bool or None.
        weight, clip: (F,), the policy's factor_weight and factor_clip.
    """
    log_ratio = evaluation.log_prob - batch.log_prob
    ratio = log_ratio.exp()
    reach = config.clip_range * clip
    clipped = torch.minimum(torch.maximum(ratio, 1 - reach), 1 + reach)
    advantage = batch.advantage.unsqueeze(-1)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    share = weight / weight.sum()
    policy = -_mean((surrogate * share).sum(-1), batch.mask)
    entropy = _mean((evaluation.entropy * share).sum(-1), batch.mask)
    total = policy - config.entropy_coef * entropy
    value = torch.zeros_like(policy)
    if config.advantage == "gae":
        errors = value_loss(evaluation.value, batch.value, batch.target, config.value_clip, config.value_huber)
        value = _mean(errors, batch.mask)
        total = total + config.value_coef * value
    with torch.no_grad():
        divergence = (ratio - 1 - log_ratio).sum(-1)
        moved = ((ratio - 1).abs() > reach).to(ratio.dtype).mean(-1)
        kl, clip_fraction = _mean(divergence, _both(batch.mask, batch.original)), _mean(moved, batch.mask)
    return Loss(total, policy.detach(), value.detach(), entropy.detach(), kl, clip_fraction)


def value_loss(
    value: Tensor, old_value: Tensor, target: Tensor, value_clip: float | None, value_huber: float | None = None
) -> Tensor:
    """Squared error (B,) of the value; with a clip, the larger of it and that of the value kept near the old one.

    value_huber: d; an error e beyond it counts 2 d |e| - d^2.
    """
    loss = _squared(value - target, value_huber)
    if value_clip is None:
        return loss
    kept = old_value + (value - old_value).clamp(-value_clip, value_clip)
    return torch.maximum(loss, _squared(kept - target, value_huber))


def _squared(error: Tensor, huber: float | None) -> Tensor:
    if huber is None:
        return error.square()
    return 2 * nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=huber)


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return x.mean()
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp_min(1)


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


class PPO:
    """The learner of one policy: its optimiser, its learning rate, its statistics.

    chunk: H, control steps of a decision.
    learning_rate: the current one.  normalizer statistics of rewards and values live here; those of observations do
    not (see ``embodied.normalize.ObsNormalizer``), because the policy needs them too.
    """

    def __init__(self, policy: Policy, config: PPOConfig, symmetry: Symmetry | None = None, chunk: int = 1) -> None:
        self.policy, self.config, self.chunk = policy, config, chunk
        self.learning_rate = config.learning_rate
        self._uneven = False  # ranks may count different numbers of decisions
        self.mirror = MirrorImages.of(policy, symmetry, config.symmetry)
        self.actor, self.critic = actor_and_critic(policy)
        self.parameters = self.actor + self.critic
        distributed.broadcast_module(cast(nn.Module, policy))
        self.updates = self.skipped = 0
        if config.critic_warmup and not self.critic:
            raise ValueError("algo.critic_warmup: this policy does not tell the parameters of its critic apart")
        if config.micro_batch is not None and policy.recurrent:
            raise ValueError("algo.micro_batch: a policy with memory learns from whole sequences")
        self._critic_rate = (config.critic_learning_rate or config.learning_rate) / config.learning_rate
        groups = [{"params": self.actor}, {"params": self.critic}]
        self.optimizer = torch.optim.Adam(
            [group for group in groups if group["params"]], lr=self.learning_rate, eps=config.adam_eps, fused=True
        )
        self.reward_scaler: RewardScaler | None = None
        self.value_moments = RunningMoments().to(self.parameters[0].device) if config.normalize_value else None

    # One iteration ----------------------------------------------------------------------------------------------

    def update(self, rollout: Rollout, progress: float = 0.0) -> dict[str, float]:
        """Learn from a rollout; ``progress`` in [0, 1] is how much of training is over.

        Returns:
            Means over the minibatches: loss/policy, loss/value, loss/entropy, kl, clip_fraction,
            grad_norm/actor, grad_norm/critic; and learning_rate, explained_variance, reward, reward/std.
            With groups also groups/used, the share that teaches something, and updates_skipped: so many rollouts have
            had no such group. Of one that has none there are no means, and nothing is learnt.

        Raises:
            FloatingPointError: the rollout, the loss or the gradient is not finite; the parameters are as before the
                step that would have spoilt them.
        """
        if self.config.schedule == "linear":
            self.learning_rate = schedules.linear_rate(self.config.learning_rate, progress)
        figures = self.prepare(rollout)
        if self.config.grouped and not learnable(rollout, self.config.num_minibatches):
            self.skipped += 1
            return figures | {"learning_rate": self.learning_rate, "minibatches": 0.0, **self._skips()}
        if self.mirror is not None:
            self.mirror.reflect(rollout)
        sums, steps = [0.0] * len(_STATISTICS), 0
        with threads_for(self._work(rollout), rollout.device):
            for statistics in self._epochs(rollout):
                sums = [a + b for a, b in zip(sums, statistics, strict=True)]
                steps += 1
        self.updates += 1
        figures |= {name: total / steps for name, total in zip(_STATISTICS, sums, strict=True)}
        return figures | {"learning_rate": self.learning_rate, "minibatches": float(steps), **self._skips()}

    def _work(self, rollout: Rollout) -> float:
        """Rows of a minibatch times parameters; a policy that denoises uses them several times."""
        rows = rollout.reward.numel() / self.config.num_minibatches * (1 if self.mirror is None else 2)
        process = getattr(self.policy, "process", None)
        return rows * sum(p.numel() for p in self.parameters) * (1 if process is None else process.steps)

    def _skips(self) -> dict[str, float]:
        return {"updates_skipped": float(self.skipped)} if self.config.grouped else {}

    @torch.no_grad()
    def prepare(self, rollout: Rollout) -> dict[str, float]:
        """Fill in the rollout's advantage, target and mask; returns figures about them."""
        active = None if rollout.all_active else rollout.active
        paid = rollout.reward if active is None else rollout.reward[active]
        mean, var = distributed.moments(paid)
        figures = checked({"reward": float(mean), "reward/std": float(var.sqrt())})
        reward = self._scaled_reward(rollout, active)
        if self.config.advantage == "group_relative":
            self._uneven = True
            rollout.advantage, used = returns.group_relative(reward, rollout.done, self.config.group_size)
            rollout.target, rollout.mask = torch.zeros_like(reward), used if active is None else used & active
            return figures | {"groups/used": share_of_groups(rollout.mask.any(0), self.config.group_size)}
        rollout.mask, self._uneven = active, active is not None
        advantage, target = self._gae(rollout, reward)
        counted = advantage if active is None else advantage[active]
        mean, var = distributed.moments(counted)
        figures |= {"explained_variance": self._explained(rollout, target, active), "advantage/std": float(var.sqrt())}
        if self.config.normalize_advantage:
            advantage = (advantage - mean.float()) / (var.sqrt().float() + 1e-8)
        rollout.advantage, rollout.target = advantage, self._standardised_target(target, active)
        return checked(figures)

    def _scaled_reward(self, rollout: Rollout, active: Tensor | None) -> Tensor:
        if not self.config.normalize_reward:
            return rollout.reward
        if self.reward_scaler is None:
            self.reward_scaler = RewardScaler(rollout.num_rows, self.config.gamma**self.chunk).to(rollout.device)
        return self.reward_scaler.scale(rollout.reward, rollout.done, active)

    def _gae(self, rollout: Rollout, reward: Tensor) -> tuple[Tensor, Tensor]:
        value, bootstrap, last = rollout.value, rollout.bootstrap, rollout.last_value
        if self.value_moments is not None:
            value, bootstrap, last = (self.value_moments.inverse(x) for x in (value, bootstrap, last))
        following = returns.next_values(value, bootstrap, last, rollout.truncated)
        ends = rollout.terminated, rollout.truncated
        return returns.gae(reward, value, following, *ends, self.config.gamma**rollout.steps, self.config.lam)

    def _explained(self, rollout: Rollout, target: Tensor, active: Tensor | None) -> float:
        """1 - var(target - value) / var(target): 1 is perfect, 0 no better than a constant."""
        value = rollout.value if self.value_moments is None else self.value_moments.inverse(rollout.value)
        pair = (target - value, target) if active is None else ((target - value)[active], target[active])
        (_, error), (_, spread) = (distributed.moments(x) for x in pair)
        return float(1 - error / spread.clamp_min(1e-12))

    def _standardised_target(self, target: Tensor, active: Tensor | None) -> Tensor:
        if self.value_moments is None:
            return target
        self.value_moments.accumulate(target.flatten() if active is None else target[active])
        self.value_moments.commit()
        return self.value_moments(target)

    def _epochs(self, rollout: Rollout) -> Any:
        """Yield the statistics of every minibatch learnt from; stops early at target_kl."""
        first = True
        for _ in range(self.config.num_epochs):
            for batch in minibatches(rollout, self.config.num_minibatches, self.policy.recurrent):
                statistics = self._backward(batch)
                kl = statistics[_STATISTICS.index("kl")]
                if self.config.target_kl is not None and kl > self.config.target_kl:
                    if first:  # the policy has not moved yet, so this is a fault and not a reason to stop
                        raise FloatingPointError(f"the first minibatch's KL is {kl:.3g}: act and evaluate disagree")
                    return
                self._adapt(kl, first)
                self.optimizer.step()
                first = False
                yield statistics

    def _backward(self, batch: Batch) -> list[float]:
        """Gradients of one minibatch, reduced over ranks and clipped; its statistics in order of _STATISTICS."""
        if self.mirror is not None:
            batch = self.mirror.augment(batch)
        self.optimizer.zero_grad(set_to_none=True)
        share = _share(batch) if self._uneven else None
        parts = self._accumulate(batch, share)
        parts = distributed.mean_gradients_(self.parameters, parts)
        if self.warming_up:
            for parameter in self.actor:
                parameter.grad = None
        norms = [clip_gradients(group, self.config.max_grad_norm, parts) for group in (self.actor, self.critic)]
        statistics = torch.cat([parts, torch.stack(norms)]).tolist()  # the one synchronisation of a minibatch
        return list(checked(dict(zip(_STATISTICS, statistics, strict=True))).values())

    def _accumulate(self, batch: Batch, share: Tensor | None) -> Tensor:
        """Add up the gradients of a minibatch, in pieces; the means of its statistics, but for the gradients' norms."""
        sums = torch.zeros(())
        for piece, portion in pieces(batch, self.config.micro_batch):
            evaluation = self.policy.evaluate_actions(piece.obs, piece.action, piece.trace)
            loss = ppo_loss(evaluation, piece, self.config, self.policy.factor_weight, self.policy.factor_clip)
            weight = portion if share is None else share * portion
            (loss.total * weight).backward()
            parts = torch.stack([loss.policy, loss.value, loss.entropy, loss.kl, loss.clip_fraction])
            sums = sums.to(parts) + parts * weight
        return sums

    @property
    def warming_up(self) -> bool:
        """Whether the critic alone learns."""
        return self.config.advantage == "gae" and self.updates < self.config.critic_warmup

    def _adapt(self, kl: float, first: bool) -> None:
        """Set the learning rate. At the first minibatch nothing has moved yet, so there is nothing to adapt to."""
        config = self.config
        if config.schedule == "adaptive" and not first and not self.warming_up:
            limits = config.min_learning_rate, config.max_learning_rate
            self.learning_rate = schedules.adaptive_rate(self.learning_rate, kl, config.desired_kl, *limits)
        for group in self.optimizer.param_groups:
            is_critic = bool(self.critic) and group["params"][0] is self.critic[0]
            group["lr"] = self.learning_rate * (self._critic_rate if is_critic else 1.0)

    # State ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, learning rate, number of updates, reward and value statistics."""
        state: dict[str, Any] = {"optimizer": self.optimizer.state_dict(), "learning_rate": self.learning_rate}
        state |= {"updates": self.updates, "skipped": self.skipped}
        for name in ("reward_scaler", "value_moments"):
            module = getattr(self, name)
            state[name] = None if module is None else module.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` of a learner of the same configuration."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rate = float(state["learning_rate"])
        self.updates = int(state.get("updates", self.config.critic_warmup))  # 0.1 had none, and no warm-up
        self.skipped = int(state.get("skipped", 0))
        if state["value_moments"] is not None and self.value_moments is not None:
            self.value_moments.load_state_dict(state["value_moments"])
        if state["reward_scaler"] is not None and self.config.normalize_reward:
            rows = state["reward_scaler"]["carried"].shape[0]
            self.reward_scaler = RewardScaler(rows, self.config.gamma**self.chunk).to(self.parameters[0].device)
            self.reward_scaler.load_state_dict(state["reward_scaler"])


_STATISTICS = (
    "loss/policy",
    "loss/value",
    "loss/entropy",
    "kl",
    "clip_fraction",
    "grad_norm/actor",
    "grad_norm/critic",
)


def learnable(rollout: Rollout, num_minibatches: int) -> bool:
    """Whether every rank has a decision that counts for each of its minibatches."""
    assert rollout.mask is not None
    return not distributed.any_rank(int(rollout.mask.sum()) < num_minibatches)


def share_of_groups(used: Tensor, group_size: int) -> float:
    """The share of groups with a row that is used, over all ranks; used: (B,) bool."""
    groups = used.view(-1, group_size).any(1)
    return distributed.total(float(groups.sum())) / distributed.total(float(len(groups)))


def actor_and_critic(policy: Policy) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters of actor and critic; a policy that does not tell them apart is all actor."""
    module = cast(Any, policy)
    if hasattr(module, "actor_parameters"):
        actor, critic = list(module.actor_parameters()), list(module.critic_parameters())
    else:
        actor, critic = list(module.parameters()), []
    return [p for p in actor if p.requires_grad], [p for p in critic if p.requires_grad]


def _share(batch: Batch) -> Tensor | None:
    """How much this rank's mean counts in the mean over ranks, where ranks count different numbers of decisions."""
    if not distributed.active():
        return None
    count = batch.advantage.new_tensor(float(batch.advantage.numel())) if batch.mask is None else batch.mask.sum()
    return distributed.share(count.to(batch.advantage.dtype))


def clip_gradients(parameters: list[nn.Parameter], max_norm: float, like: Tensor) -> Tensor:
    """Scale gradients down to a norm of at most max_norm; returns the norm before."""
    if not any(p.grad is not None for p in parameters):
        return like.new_zeros(())
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)


def checked(figures: dict[str, float]) -> dict[str, float]:
    """The figures, if all are finite."""
    bad = [name for name, value in figures.items() if not abs(value) < float("inf")]
    if bad:
        raise FloatingPointError(f"not finite: {', '.join(bad)}")
    return figures
