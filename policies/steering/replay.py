"""What off-policy rules learn from: transitions of decisions, each with the discount factor of what follows it.

A decision lasts as many control steps as its chunk, or fewer where the episode is cut short inside it, so the factor
g^n differs from one transition to another (``envs.chunking`` says why). Stable-Baselines3's own buffer knows one factor
for all; its learner takes one of each transition from here.

Legend: B rows; M transitions of a batch; L elements of a latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from embodied.configuration import positive


class Transitions(NamedTuple):
    """The names are those that Stable-Baselines3's learners read.

    observations, next_observations: (M, ...), standardised.  actions: (M, L), latents.
    dones: (M, 1) float, 1 where the episode ended by itself, so that nothing follows; 0 where it was only cut off.
    rewards: (M, 1), of the decision.  discounts: (M, 1), of the value of what follows.
    """

    observations: Tensor
    actions: Tensor
    next_observations: Tensor
    dones: Tensor
    rewards: Tensor
    discounts: Tensor


class Replay:
    """The last ``capacity`` transitions, drawn from evenly and with repetition."""

    def __init__(self, capacity: int) -> None:
        positive("algo.buffer_size", capacity)
        self.capacity = capacity
        self.added = 0
        self._store: Transitions | None = None

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, new: Transitions) -> None:
        """Take B transitions; the oldest make way."""
        if self._store is None:
            self._store = Transitions(*(x.new_empty((self.capacity, *x.shape[1:])) for x in new))
        numbers = self.added + torch.arange(len(new.rewards), device=new.rewards.device)[-self.capacity :]
        for store, x in zip(self._store, new, strict=True):
            store[numbers % self.capacity] = x[-self.capacity :]
        self.added += len(new.rewards)

    def sample(self, batch_size: int, env: object = None) -> Transitions:
        """M = batch_size transitions; ``env`` is what Stable-Baselines3 would normalise by, and not used."""
        assert self._store is not None, "add() comes before sample()"
        rows = torch.randint(len(self), (batch_size,), device=self._store.rewards.device)
        return Transitions(*(x[rows] for x in self._store))

    def state_dict(self) -> dict[str, Any]:
        """What it holds, without the room that is left."""
        stored = None if self._store is None else {k: x[: len(self)] for k, x in self._store._asdict().items()}
        return {"added": self.added, "stored": stored}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        """Continue from :meth:`state_dict` of a replay of the same capacity."""
        self.added, self._store = 0, None
        if state["stored"] is None:
            return
        stored = Transitions(**{name: x.to(device) for name, x in state["stored"].items()})
        self.add(stored)
        self.added = state["added"]
