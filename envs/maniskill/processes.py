"""Worlds over worker processes that share their fields with this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..workers import Layout, SharedArrays, Workers
from .config import ManiSkillConfig
from .simulation import Fields
from .worlds import LocalWorlds, joined, part


def layout(example: Fields, worlds: int) -> Layout:
    """Of N worlds, by the fields of one."""
    return {name: ((worlds, *value.shape[1:]), value.numpy().dtype.name) for name, value in example.items()}


def tensors(shared: SharedArrays) -> Fields:
    """The fields on the shared memory."""
    return {name: torch.from_numpy(array) for name, array in shared.views().items()}


def local(config: ManiSkillConfig, shared: SharedArrays, first: int, count: int) -> LocalWorlds:
    """The worlds of one worker."""
    torch.set_num_threads(1)
    return LocalWorlds(config, tensors(shared), first, count)


class RemoteWorlds:
    """N worlds in ``workers`` processes, each with its neighbouring worlds.

    Raises:
        RuntimeError: a worker failed; with its traceback.
    """

    def __init__(self, config: ManiSkillConfig, plan: Layout, workers: int) -> None:
        worlds, shared = plan["action"][0][0], SharedArrays(plan)
        self.fields = tensors(shared)
        bounds = np.linspace(0, worlds, workers + 1).astype(int).tolist()
        self._shares = [range(a, b) for a, b in pairwise(bounds)]
        self._workers = Workers("ManiSkill", local, [(config, shared, s.start, len(s)) for s in self._shares])

    def step(self, look: bool) -> None:
        """Advance all worlds."""
        self._workers.all("step", [(look,)] * len(self._shares))

    def reset(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        """Start these worlds."""
        seed = dict(zip(worlds, seeds, strict=True))
        mine = [[w for w in worlds if w in share] for share in self._shares]
        self._workers.all("reset", [(some, [seed[w] for w in some]) for some in mine])

    def look(self, worlds: Sequence[int]) -> None:
        """Draw these worlds."""
        self._workers.all("look", [([w for w in worlds if w in share],) for share in self._shares])

    def render(self, world: int) -> np.ndarray:
        """A frame for people, (height, width, 3) uint8."""
        number = next(i for i, share in enumerate(self._shares) if world in share)
        frame: np.ndarray = self._workers.one(number, "render", world)
        return frame

    def state(self) -> dict[str, Any]:
        """Of all worlds."""
        return joined(self._workers.all("state", [()] * len(self._shares)))

    def restore(self, state: Mapping[str, Any], steps: Tensor) -> None:
        """The inverse."""
        self._workers.all("restore", [(part(state, s.start, len(s)), steps[s.start : s.stop]) for s in self._shares])

    def close(self) -> None:
        """Stop the workers."""
        self._workers.close()
