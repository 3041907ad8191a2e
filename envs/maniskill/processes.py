"""Worlds over worker processes that share their fields with this one; a message says what to do, not with what."""

from __future__ import annotations

import ctypes
import multiprocessing
import traceback
from collections.abc import Mapping, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .config import ManiSkillConfig
from .simulation import Fields
from .worlds import LocalWorlds, joined, part

Layout = dict[str, tuple[tuple[int, ...], str]]
"""Field -> shape of all worlds, numpy's name of its type."""
_ALIGNED = 64  # bytes


def layout(example: Fields, worlds: int) -> Layout:
    """Of N worlds, by the fields of one."""
    return {name: ((worlds, *value.shape[1:]), value.numpy().dtype.name) for name, value in example.items()}


def views(plan: Layout, memory: Any) -> tuple[Fields, int]:
    """The fields in a buffer, one behind the other, and the bytes that they take; None: the number alone."""
    fields, start = {}, 0
    for name, (shape, dtype) in plan.items():
        count = int(np.prod(shape))
        if memory is not None:
            fields[name] = torch.from_numpy(np.frombuffer(memory, dtype, count, start).reshape(shape))
        size = count * np.dtype(dtype).itemsize
        start += -(-size // _ALIGNED) * _ALIGNED
    return fields, start


class RemoteWorlds:
    """N worlds in ``workers`` processes, each with its neighbouring worlds.

    Raises:
        RuntimeError: a worker failed; with its traceback.
    """

    def __init__(self, config: ManiSkillConfig, plan: Layout, workers: int) -> None:
        worlds = plan["action"][0][0]
        memory = multiprocessing.get_context("spawn").RawArray(ctypes.c_uint8, views(plan, None)[1])
        self.fields = views(plan, memory)[0]
        bounds = np.linspace(0, worlds, workers + 1).astype(int).tolist()
        self._shares = [range(a, b) for a, b in pairwise(bounds)]
        self._workers = [_start(config, plan, memory, share) for share in self._shares]
        for _, pipe in self._workers:
            _answer(pipe)

    def step(self, look: bool) -> None:
        """Advance all worlds."""
        self._all("step", [(look,)] * len(self._shares))

    def reset(self, worlds: Sequence[int], seeds: Sequence[int]) -> None:
        """Start these worlds."""
        seed = dict(zip(worlds, seeds, strict=True))
        mine = [[w for w in worlds if w in share] for share in self._shares]
        self._all("reset", [(some, [seed[w] for w in some]) for some in mine])

    def look(self, worlds: Sequence[int]) -> None:
        """Draw these worlds."""
        self._all("look", [([w for w in worlds if w in share],) for share in self._shares])

    def render(self, world: int) -> np.ndarray:
        """A frame for people, (height, width, 3) uint8."""
        pipe = next(pipe for (_, pipe), share in zip(self._workers, self._shares, strict=True) if world in share)
        pipe.send(("render", (world,)))
        return _answer(pipe)

    def state(self) -> dict[str, Any]:
        """Of all worlds."""
        return joined(self._all("state", [()] * len(self._shares)))

    def restore(self, state: Mapping[str, Any], steps: Tensor) -> None:
        """The inverse."""
        self._all("restore", [(part(state, s.start, len(s)), steps[s.start : s.stop]) for s in self._shares])

    def close(self) -> None:
        """Stop the workers."""
        for process, pipe in self._workers:
            pipe.close()
            process.join(timeout=10)
        self._workers = []

    def _all(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of every worker; what they answer."""
        for (_, pipe), given in zip(self._workers, arguments, strict=True):
            pipe.send((method, given))
        return [_answer(pipe) for _, pipe in self._workers]


def _start(config: ManiSkillConfig, plan: Layout, memory: Any, share: range) -> tuple[Any, Connection]:
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit the threads of torch, and hang
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, config, plan, memory, share), daemon=True)
    process.start()
    there.close()
    return process, here


def _answer(pipe: Connection) -> Any:
    try:
        error, answer = pipe.recv()
    except EOFError:
        raise RuntimeError("a ManiSkill worker ended without a word; does the machine have memory left?") from None
    if error:
        raise RuntimeError(f"a ManiSkill worker failed:\n{error}")
    return answer


def serve(pipe: Connection, config: ManiSkillConfig, plan: Layout, memory: Any, share: range) -> None:
    """A worker's life: do what is asked until the pipe is closed; answers are (error or '', result)."""
    torch.set_num_threads(1)
    worlds: LocalWorlds | None = None
    answer: Any = None
    request: tuple[str, tuple[Any, ...]] | None = None
    while True:
        try:
            if worlds is None:
                worlds = LocalWorlds(config, views(plan, memory)[0], share.start, len(share))
            elif request is not None:
                answer = getattr(worlds, request[0])(*request[1])
            pipe.send(("", answer))
        except Exception:
            pipe.send((traceback.format_exc(), None))
        try:
            request = pipe.recv()
        except EOFError:
            return
