"""Direct preference optimisation of whole episodes: those that succeeded are preferred to those that failed.

The loss is DPO's (Rafailov et al. 2023, arXiv 2305.18290, eq. 7) with the likelihood of a trajectory in the place of a
sentence's, as in the TPO of GRAPE (Zhang et al. 2024, arXiv 2411.19309): the world does not depend on the parameters,
so it is the sum of the decisions' log-probabilities. Left out of GRAPE: its costs by stages; success alone ranks. Pairs
are collected by the policy at hand in every iteration; the reference stays what the policy was at the first update.

Legend: T steps; B rows; G rows a group; P pairs; b rows of a minibatch, its preferred ones first; n = T * b decisions.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from . import distributed, schedules
from .optimizer import FlatAdam
from .ppo import actor_and_critic, checked, share_of_groups
from .ppo_config import PPOConfig
from .returns import first_episode
from .rollout import Batch, Rollout, pieces, whole_rows
from .types import Policy

_STATISTICS = ("loss/preference", "preference/accuracy", "preference/margin", "kl", "grad_norm/actor")


def preference_loss(better: Tensor, worse: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta * (better - worse)), (P,). better, worse: (P,) log pi(episode) - log reference(episode)."""
    return -nn.functional.logsigmoid(beta * (better - worse))


def preference_pairs(success: Tensor, group_size: int) -> Tensor:
    """(P, 2) numbers of rows, preferred and other, of the same group.

    Of a group with w successes and l failures max(w, l) pairs are made, so that every row is in one; the rarer kind
    takes turns. Groups of one kind give none. success: (B,) bool, rows in groups of group_size.
    """
    found = [torch.empty(0, 2, dtype=torch.long, device=success.device)]
    for rows in torch.arange(len(success), device=success.device).split(group_size):
        good, bad = rows[success[rows]], rows[~success[rows]]
        if len(good) and len(bad):
            turn = torch.arange(max(len(good), len(bad)), device=rows.device)
            found.append(torch.stack([good[turn % len(good)], bad[turn % len(bad)]], 1))
    return torch.cat(found)


def decision_log_prob(policy: Policy, batch: Batch) -> Tensor:
    """Log-probability of each decision, its factors added up: (n,), or (T, b) for a recurrent policy."""
    return policy.evaluate_actions(batch.obs, batch.action, batch.trace).log_prob.sum(-1)


class DPO:
    """The learner of one policy, as :class:`embodied.ppo.PPO` is; nothing of it is about actions or observations.

    reference: the policy before its first update.
    """

    def __init__(self, policy: Policy, config: PPOConfig) -> None:
        if config.micro_batch is not None and policy.recurrent:
            raise ValueError("algo.micro_batch: a policy with memory learns from whole sequences")
        self.policy, self.config = policy, config
        self.learning_rate = config.learning_rate
        self.parameters, _ = actor_and_critic(policy)
        distributed.broadcast_module(cast(nn.Module, policy))
        self.optimizer = FlatAdam([self.parameters], self.learning_rate, config.adam_eps)
        self.reference: Policy | None = None
        self.updates = self.skipped = 0

    def update(self, rollout: Rollout, progress: float = 0.0) -> dict[str, float]:
        """Learn from the pairs of a rollout of whole episodes.

        Returns:
            Means over the minibatches: loss/preference, preference/accuracy and /margin (of the log-likelihood ratios),
            kl, grad_norm/actor; and learning_rate, pairs, groups/used, updates_skipped, reward, reward/std. Without
            enough pairs for the minibatches there are no means, and nothing is learnt.

        Raises:
            FloatingPointError: a reward, the loss or the gradient is not finite.
        """
        if self.config.schedule == "linear":
            self.learning_rate = schedules.linear_rate(self.config.learning_rate, progress)
        mean, var = distributed.moments(rollout.reward)
        figures = checked({"reward": float(mean), "reward/std": float(var.sqrt())})
        if self.reference is None:
            self.reference = _frozen(self.policy)
        first = first_episode(rollout.done)
        pairs = preference_pairs((rollout.success * first).sum(0) > 0.5, self.config.group_size)
        figures |= {"pairs": distributed.total(float(len(pairs))), "groups/used": self._used(pairs, rollout.num_rows)}
        if distributed.any_rank(len(pairs) < self.config.num_minibatches):
            self.skipped += 1
            steps: list[list[float]] = []
        else:
            steps = self._epochs(rollout, first, pairs)
            self.updates += 1
            figures |= {name: sum(x) / len(x) for name, x in zip(_STATISTICS, zip(*steps, strict=True), strict=True)}
        counts = {"updates_skipped": float(self.skipped), "minibatches": float(len(steps))}
        return figures | {"learning_rate": self.learning_rate, **counts}

    def _used(self, pairs: Tensor, rows: int) -> float:
        used = torch.zeros(rows, dtype=torch.bool, device=pairs.device)
        used[pairs.flatten()] = True
        return share_of_groups(used, self.config.group_size)

    def _epochs(self, rollout: Rollout, first: Tensor, pairs: Tensor) -> list[list[float]]:
        """The statistics of every minibatch."""
        rollout.advantage = rollout.target = torch.zeros_like(rollout.reward)
        statistics, reference = [], self._judged(rollout, pairs.unique())
        for _ in range(self.config.num_epochs):
            order = torch.randperm(len(pairs), device=pairs.device)
            for part in pairs[order].tensor_split(self.config.num_minibatches):
                rows = part.T.flatten()
                batch = whole_rows(rollout, rows, self.policy.recurrent)
                statistics.append(self._step(batch, first[:, rows], reference[:, rows]))
        return statistics

    @torch.no_grad()
    def _judged(self, rollout: Rollout, rows: Tensor) -> Tensor:
        """Log-probability of each decision by the reference, (T, B), the same for a whole update; 0 in other rows."""
        found = torch.zeros_like(rollout.reward)
        for part in rows.tensor_split(self.config.num_minibatches):  # no more rows at once than a minibatch has
            batch = whole_rows(rollout, part, self.policy.recurrent)
            judged = [
                decision_log_prob(cast(Policy, self.reference), x) for x, _ in pieces(batch, self.config.micro_batch)
            ]
            found[:, part] = torch.cat(judged).view(len(found), -1).to(found.dtype)
        return found

    def _step(self, batch: Batch, counts: Tensor, reference: Tensor) -> list[float]:
        """One gradient step; its statistics in order of _STATISTICS. counts: (T, b) bool, decisions that count."""
        self.optimizer.zero_grad()
        parts = self._backward(batch, counts, reference)
        parts = self.optimizer.average(parts)
        (norm,) = self.optimizer.clip(self.config.max_grad_norm)
        found = checked(dict(zip(_STATISTICS, torch.cat([parts, norm[None]]).tolist(), strict=True)))
        self.optimizer.step([self.learning_rate])
        return list(found.values())

    def _backward(self, batch: Batch, counts: Tensor, reference: Tensor) -> Tensor:
        """Gradients of a minibatch, and its statistics but for their norm.  reference: (T, b) of :meth:`_judged`.

        The loss's derivative by each decision's log-probability is all that the pairs have in common. It is found
        first; with micro_batch the decisions are then gone through again, piece by piece.
        """
        parts = [piece for piece, _ in pieces(batch, self.config.micro_batch)]
        at_once = len(parts) == 1
        with torch.set_grad_enabled(at_once):
            log_prob = torch.cat([decision_log_prob(self.policy, part) for part in parts])
        leaf = log_prob.detach().requires_grad_()
        better, worse = torch.where(counts, leaf.view_as(counts) - reference, 0.0).sum(0).chunk(2)
        share = distributed.share(better.new_tensor(float(len(better))))
        loss = preference_loss(better, worse, self.config.beta).mean()
        (weight,) = torch.autograd.grad(loss * share, leaf)
        if at_once:
            log_prob.backward(weight)
        else:
            for part, its_weight in zip(parts, weight.split(len(parts[0].value)), strict=True):
                decision_log_prob(self.policy, part).backward(its_weight)
        moved = leaf.detach().view_as(counts) - batch.log_prob.sum(-1).view_as(counts)
        kl = torch.where(counts, moved.exp() - 1 - moved, 0.0).sum() / counts.sum()
        margin = (better - worse).detach()
        return torch.stack([loss.detach(), (margin > 0).to(margin.dtype).mean(), margin.mean(), kl]) * share

    # State ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Optimiser, learning rate, number of updates, and the reference."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate,
            "updates": self.updates,
            "skipped": self.skipped,
            "reference": None if self.reference is None else cast(nn.Module, self.reference).state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict` of a learner of the same policy and configuration."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.learning_rate = float(state["learning_rate"])
        self.updates, self.skipped = int(state["updates"]), int(state["skipped"])
        if state["reference"] is not None:
            self.reference = _frozen(self.policy)
            cast(nn.Module, self.reference).load_state_dict(state["reference"])


def _frozen(policy: Policy) -> Policy:
    """A copy that does not learn."""
    copied = copy.deepcopy(cast(nn.Module, policy))
    return cast(Policy, copied.requires_grad_(False))
