"""Rollouts of a torch policy for comparison with its export. Legend: B rows; L observations of a history; n size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from embodied.types import Obs, Policy, VecEnv

from .contract import POLICY_GROUP
from .perception import IMAGE_GROUP, INSTRUCTION_GROUP
from .recording import Recording

Normalizer = Callable[[Obs], Obs]


@torch.no_grad()
def record(env: VecEnv, policy: Policy, normalizer: Normalizer, steps: int, seed: int = 0) -> Recording:
    """Let the policy make ``steps`` decisions from a reset and keep what it saw. It draws them, so as to see more.

    The task's group ``policy`` is (B, n), or (B, L, n) with a history. Images and instructions are kept, too.
    """
    obs, memory = env.reset(seed), policy.initial_memory(env.num_rows)
    start = torch.ones(env.num_rows, dtype=torch.bool, device=env.device)
    seen, starts = [], []
    others: dict[str, list[np.ndarray]] = {name: [] for name in (IMAGE_GROUP, INSTRUCTION_GROUP) if name in obs}
    for _ in range(steps):
        group = obs[POLICY_GROUP].float().cpu().numpy()
        seen.append(group.reshape(len(group), -1, group.shape[-1]).copy())
        starts.append(start.cpu().numpy().copy())
        for name, kept in others.items():
            kept.append(obs[name].cpu().numpy().copy())
        decision = policy.act(normalizer(obs), memory)
        result = env.step(decision.action)
        obs, start = result.obs, result.done
        memory = forget(policy, decision.memory, start)
    return Recording(np.stack(seen), np.stack(starts), **{name: np.stack(kept) for name, kept in others.items()})


def forget(policy: Policy, memory: dict[str, Tensor], ended: Tensor) -> dict[str, Tensor]:
    """The memory with its rows put back to their start where ``ended`` (B,)."""
    fresh = policy.initial_memory(len(ended))
    return {key: torch.where(_like(ended, value), fresh[key].to(value), value) for key, value in memory.items()}


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (value.dim() - 1))
