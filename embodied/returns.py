"""Advantages from rewards: pure functions over (T, B) tensors.

Legend: T steps; B rows; G rows a group.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float | Tensor,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16), with the two ways to end kept apart.

    Args:
        reward, value: (T, B). value is of the observation that the decision was made on.
        next_value: (T, B) value of the observation after the step and before any reset: ``value(final_obs)`` where
            the row was truncated, the next row of ``value`` elsewhere. Ignored where the row terminated.
        terminated, truncated: (T, B) bool. A terminated row is worth 0 afterwards, a truncated one ``next_value``;
            neither passes advantage back across the end of the episode.
        gamma: discount factor, or (T, B) where decisions differ in length.

    Returns:
        advantage (T, B) and the value target ``advantage + value`` (T, B).
    """
    delta = reward + gamma * torch.where(terminated, 0.0, next_value) - value
    decay = gamma * lam * (~(terminated | truncated)).to(reward.dtype)
    advantage = torch.empty_like(reward)
    carried = torch.zeros_like(reward[0])
    for t in range(reward.shape[0] - 1, -1, -1):
        carried = torch.addcmul(delta[t], decay[t], carried, out=advantage[t])
    return advantage, advantage + value


def next_values(value: Tensor, bootstrap: Tensor, last_value: Tensor, truncated: Tensor) -> Tensor:
    """(T, B) values of what follows each step: ``bootstrap`` (T, B) where truncated, else the next step's value.

    last_value: (B,), of the observation after the last step.
    """
    following = torch.cat([value[1:], last_value[None]])
    return torch.where(truncated, bootstrap, following)


def first_episode(done: Tensor) -> Tensor:
    """(T, B) bool: the steps of each row up to and including its first end."""
    ends_before = torch.cumsum(done.long(), dim=0) - done.long()
    return ends_before == 0


def group_relative(reward: Tensor, done: Tensor, group_size: int, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Group-relative advantages (GRPO, Shao et al. 2024, section 4.1): no value function.

    Every ``group_size`` consecutive rows started from the same state. A row's score is the return of its first
    episode in the rollout; each of its steps gets that score standardised within the group. A group whose scores are
    equal says nothing about what to do better: it is masked, so that it does not water down the mean either (dynamic
    sampling, DAPO, Yu et al. 2025, section 3.2, without drawing further groups).

    Args:
        reward: (T, B).  done: (T, B) bool.  eps: standard deviation up to which scores are equal.

    Returns:
        advantage (T, B) and mask (T, B) bool: neither steps after the first episode's end nor groups of equal scores.

    Raises:
        ValueError: B is no multiple of ``group_size``, or ``group_size`` < 2.
    """
    rows = reward.shape[1]
    if group_size < 2 or rows % group_size:
        raise ValueError(f"group_size must be at least 2 and divide the {rows} rows, not {group_size}")
    mask = first_episode(done)
    score = (reward * mask).sum(0).view(-1, group_size)
    centred, spread = score - score.mean(1, keepdim=True), score.std(1, keepdim=True, correction=0)
    mask = mask & (spread > eps).expand_as(score).reshape(1, rows)
    return torch.where(mask, (centred / (spread + eps)).view(1, rows), 0.0), mask


def discounted_returns(reward: Tensor, done: Tensor, start: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Forward discounted sums ``s_t = gamma s_{t-1} + r_t``, cleared after each end (as in VecNormalize of SB3).

    Args:
        reward, done: (T, B).  start: (B,) sum carried from the rollout before.

    Returns:
        sums (T, B) and the sum to carry on (B,).
    """
    sums = torch.empty_like(reward)
    carried = start
    for t in range(reward.shape[0]):
        sums[t] = gamma * carried + reward[t]
        carried = torch.where(done[t], 0.0, sums[t])
    return sums, carried
