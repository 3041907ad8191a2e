"""Mirror images of a rollout: left-right symmetric robots learn from each decision twice (Mittal et al. 2024).

A mirrored decision keeps the ORIGINAL's log-probability, advantage and target: the behaviour policy is treated as
mirrored too, whose density of the mirrored decision is the original's. Observations are stored standardised, so the
normaliser's statistics must be symmetric (``ObsNormalizer.of(spec, symmetric=True)``); then both operations commute.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .rollout import Batch, Rollout
from .types import Mirror, Obs, Policy, Symmetry

MODES = ("none", "augment", "mix")


class _Reflection:
    """A Mirror with its index and signs kept on the device."""

    def __init__(self, mirror: Mirror) -> None:
        self.index, self.sign = torch.tensor(mirror.index), torch.tensor(mirror.sign)

    def __call__(self, x: Tensor) -> Tensor:
        if self.index.device != x.device:
            self.index, self.sign = self.index.to(x.device), self.sign.to(x.device)
        return x.index_select(-1, self.index).mul_(self.sign)


class MirrorImages:
    """Adds mirror images to minibatches.

    mode: ``augment`` doubles each minibatch; ``mix`` mirrors a random half of it, at no cost in updating.
    """

    def __init__(self, symmetry: Symmetry, mode: str) -> None:
        self.mode = mode
        self.obs = {name: _Reflection(mirror) for name, mirror in symmetry.obs.items()}
        self.action = _Reflection(symmetry.action)

    @classmethod
    def of(cls, policy: Policy, symmetry: Symmetry | None, mode: str) -> MirrorImages | None:
        """For a policy and a task's symmetry; None for mode ``none``.

        Raises:
            ValueError: the task has no symmetry, or the policy has a memory, whose mirror image nobody knows.
        """
        if mode == "none":
            return None
        if symmetry is None:
            raise ValueError(f"algo.symmetry={mode}: this task declares no symmetry; use algo.symmetry=none")
        if policy.recurrent:
            raise ValueError(f"algo.symmetry={mode} needs a policy without memory; use algo.symmetry=none")
        return cls(symmetry, mode)

    def reflect(self, rollout: Rollout) -> None:
        """Check that everything in a rollout can be mirrored."""
        missing = sorted(set(rollout.obs) - set(self.obs))
        if missing:
            raise ValueError(f"the task's symmetry says nothing of the observation groups {', '.join(missing)}")
        if rollout.trace:
            raise ValueError(f"cannot mirror the trace {', '.join(rollout.trace)} of this policy: use symmetry=none")

    def augment(self, batch: Batch) -> Batch:
        """A minibatch (n, ...) with mirror images: (2n, ...) for ``augment``, (n, ...) for ``mix``."""
        return self._doubled(batch) if self.mode == "augment" else self._mixed(batch)

    def _doubled(self, batch: Batch) -> Batch:
        twice: dict[str, Any] = {name: torch.cat([x, x]) for name, x in vars(batch).items() if isinstance(x, Tensor)}
        original = torch.ones_like(twice["advantage"], dtype=torch.bool)
        original[batch.advantage.shape[0] :] = False
        obs: Obs = {name: torch.cat([x, self.obs[name](x)]) for name, x in batch.obs.items()}
        action = torch.cat([batch.action, self.action(batch.action)])
        return replace(batch, **(twice | {"action": action, "obs": obs, "original": original}))

    def _mixed(self, batch: Batch) -> Batch:
        # Minibatches are in random order already, so their second half is a random half.
        half = batch.advantage.shape[0] // 2
        original = torch.ones_like(batch.advantage, dtype=torch.bool)
        original[half:] = False
        for name, x in batch.obs.items():
            x[half:] = self.obs[name](x[half:])
        batch.action[half:] = self.action(batch.action[half:])
        return replace(batch, original=original)
