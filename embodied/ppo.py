"""Proximal policy optimisation (Schulman et al. 2017) for any policy that states a likelihood.

It follows rsl_rl's recipe for locomotion (adaptive learning rate, actor and critic clipped apart) and departs from it
where ``ARCHITECTURE.md`` (section 4) says so: truncated rows bootstrap from ``value(final_obs)``, the learning rate
adapts to the sample KL, statistics cover active rows of all ranks, likelihoods may have several factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from . import distributed, returns, schedules
from .gradients import Gradient
from .normalize import RewardScaler, RunningMoments
from .optimizer import FlatAdam
from .ppo_config import PPOConfig as PPOConfig
from .rollout import Batch, Rollout, minibatches, pieces
from .runtime import products, suited_to
from .symmetry import MirrorImages
from .types import Policy, Symmetry


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
        self.optimizer = FlatAdam([self.actor, self.critic], self.learning_rate, config.adam_eps)
        self.gradient = Gradient(policy, config, self.parameters)
        self.reward_scaler: RewardScaler | None = None
        self.value_moments = RunningMoments().to(self.parameters[0].device) if config.normalize_value else None

    # One iteration ----------------------------------------------------------------------------------------------

    def update(self, rollout: Rollout, progress: float = 0.0) -> dict[str, float]:
        """Learn from a rollout; ``progress`` in [0, 1] is how much of training is over.

        Returns:
            Means over the minibatches: loss/policy, loss/value, loss/entropy, loss/auxiliary where it is not 0, kl,
            clip_fraction, grad_norm/actor, grad_norm/critic; and learning_rate, explained_variance, reward, reward/std.
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
        rows = rollout.reward.numel() / self.config.num_minibatches * (1 if self.mirror is None else 2)
        with suited_to(products(self.policy, rows), rollout.device):
            for statistics in self._epochs(rollout):
                sums = [a + b for a, b in zip(sums, statistics, strict=True)]
                steps += 1
        self.updates += 1
        means = {name: total / steps for name, total in zip(_STATISTICS, sums, strict=True)}
        if not means[AUXILIARY]:  # most policies have no such loss
            del means[AUXILIARY]
        figures |= means
        return figures | {"learning_rate": self.learning_rate, "minibatches": float(steps), **self._skips()}

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
                self.optimizer.step([self.learning_rate, self.learning_rate * self._critic_rate])
                first = False
                yield statistics

    def _backward(self, batch: Batch) -> list[float]:
        """Gradients of one minibatch, reduced over ranks and clipped; its statistics in order of _STATISTICS."""
        if self.mirror is not None:
            batch = self.mirror.augment(batch)
        self.optimizer.zero_grad()
        share = _share(batch) if self._uneven else None
        parts = self._accumulate(batch, share)
        parts = self.optimizer.average(parts)
        if self.warming_up:
            self.optimizer.leave_out(ACTOR)
        norms = self.optimizer.clip(self.config.max_grad_norm)
        statistics = torch.cat([parts, torch.stack(norms)]).tolist()  # the one synchronisation of a minibatch
        return list(checked(dict(zip(_STATISTICS, statistics, strict=True))).values())

    def _accumulate(self, batch: Batch, share: Tensor | None) -> Tensor:
        """Add up the gradients of a minibatch, in pieces; the means of its statistics, but for the gradients' norms."""
        sums = torch.zeros((), device=batch.value.device)
        for piece, portion in pieces(batch, self.config.micro_batch):
            sums = sums + self.gradient.add(piece, portion if share is None else share * portion)
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


ACTOR = 0
"""The actor's place among the optimiser's groups; the critic's is the next."""
AUXILIARY = "loss/auxiliary"
_STATISTICS = (
    "loss/policy",
    "loss/value",
    "loss/entropy",
    "kl",
    "clip_fraction",
    AUXILIARY,
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


def checked(figures: dict[str, float]) -> dict[str, float]:
    """The figures, if all are finite."""
    bad = [name for name, value in figures.items() if not abs(value) < float("inf")]
    if bad:
        raise FloatingPointError(f"not finite: {', '.join(bad)}")
    return figures
