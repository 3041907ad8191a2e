"""N worlds behind one set of fields, whatever simulates them: this process, several, or one CUDA device.

PhysX on the CPU knows one world an environment: a process steps its share one after the other, and processes share
their fields through memory. Fields are those of :mod:`simulation`, (N, ...), and ``action`` (N, A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .config import ManiSkillConfig
from .simulation import Fields, Simulation


class Worlds(Protocol):
    """fields: of all worlds, overwritten by every call."""

    fields: Fields

    def step(self, look: bool) -> None:
        """Advance all worlds by ``fields["action"]``."""

    def reset(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        """Start these worlds, each by its seed."""

    def look(self, worlds: Sequence[int]) -> None:
        """Draw the images of these worlds."""

    def render(self, world: int) -> np.ndarray:
        """A frame for people, (height, width, 3) uint8."""

    def state(self) -> dict[str, Any]:
        """Of all worlds, nested, (N, ...)."""

    def restore(self, state: Mapping[str, Any], steps: Tensor) -> None:
        """The inverse, after a reset with the episodes' seeds; steps: (N,) since their starts."""

    def close(self) -> None:
        """Free what is held."""


class LocalWorlds:
    """Worlds ``first`` to ``first + count - 1`` in this process, one ManiSkill environment each."""

    def __init__(self, config: ManiSkillConfig, fields: Fields, first: int, count: int) -> None:
        self.fields, self._first = fields, first
        self._each = [Simulation(config) for _ in range(count)]

    def step(self, look: bool) -> None:
        for i, simulation in self._numbered(None):
            self._write(i, simulation.step(self.fields["action"][i : i + 1], look))

    def reset(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        for (i, simulation), seed in zip(self._numbered(worlds), seeds, strict=True):
            self._write(i, simulation.reset(seed))

    def look(self, worlds: Sequence[int]) -> None:
        for i, simulation in self._numbered(worlds):
            self._write(i, simulation.look())

    def render(self, world: int) -> np.ndarray:
        return self._each[world - self._first].render(0)

    def state(self) -> dict[str, Any]:
        return joined([simulation.state() for simulation in self._each])

    def restore(self, state: Mapping[str, Any], steps: Tensor) -> None:
        """state, steps: of the worlds of this process."""
        for k, simulation in enumerate(self._each):
            simulation.restore(part(state, k, 1), steps[k : k + 1])

    def close(self) -> None:
        for simulation in self._each:
            simulation.close()
        self._each = []

    def _numbered(self, worlds: Sequence[int] | None) -> list[tuple[int, Simulation]]:
        chosen = range(self._first, self._first + len(self._each)) if worlds is None else worlds
        return [(i, self._each[i - self._first]) for i in chosen]

    def _write(self, world: int, found: Fields) -> None:
        for name, value in found.items():
            self.fields[name][world] = value[0]


class CudaWorlds:
    """All worlds as one environment on a CUDA device. One seed starts all worlds that are reset together."""

    def __init__(self, config: ManiSkillConfig, worlds: int, device: torch.device) -> None:
        backend = "physx_cuda" if device.index is None else f"physx_cuda:{device.index}"
        self.simulation = Simulation(config, worlds, backend)
        self.fields = self.simulation.example()
        self.fields["action"] = torch.zeros(worlds, self.simulation.action.size, device=self.simulation.env.device)

    def step(self, look: bool) -> None:
        self.fields |= self.simulation.step(self.fields["action"], look)

    def reset(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        everyone = len(worlds) == self.simulation.worlds
        self.fields |= self.simulation.reset(seeds[0], None if everyone else torch.tensor(worlds))

    def look(self, worlds: Sequence[int]) -> None:
        self.fields |= self.simulation.look()

    def render(self, world: int) -> np.ndarray:
        return self.simulation.render(world)

    def state(self) -> dict[str, Any]:
        return self.simulation.state()

    def restore(self, state: Mapping[str, Any], steps: Tensor) -> None:
        self.simulation.restore(state, steps)

    def close(self) -> None:
        self.simulation.close()


def joined(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Nested states of groups of worlds as one."""
    first = states[0]
    return {
        name: joined([state[name] for state in states])
        if isinstance(value, Mapping)
        else torch.cat([state[name] for state in states])
        for name, value in first.items()
    }


def part(state: Mapping[str, Any], first: int, count: int) -> dict[str, Any]:
    """The nested state of ``count`` worlds from ``first`` on."""
    return {
        name: part(value, first, count) if isinstance(value, Mapping) else value[first : first + count]
        for name, value in state.items()
    }
