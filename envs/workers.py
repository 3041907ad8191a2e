"""Worker processes that share arrays with this one; a message says what to do, not with what.

Each worker makes one object and calls its methods as it is asked to.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

Layout = dict[str, tuple[tuple[int, ...], str]]
"""Array -> its shape and numpy's name of its type."""
_ALIGNED = 64  # bytes


class SharedArrays:
    """Arrays one behind the other in one piece of memory, zero at first; to be handed to processes as they start."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._offsets, size = {}, 0
        for name, (shape, dtype) in layout.items():
            self._offsets[name] = size
            taken = int(np.prod(shape)) * np.dtype(dtype).itemsize
            size += -(-taken // _ALIGNED) * _ALIGNED
        self._memory: Any = multiprocessing.get_context("spawn").RawArray(ctypes.c_uint8, max(size, 1))

    def views(self) -> dict[str, np.ndarray]:
        """Name -> array on the shared memory."""
        return {
            name: np.ndarray(shape, dtype, self._memory, self._offsets[name])
            for name, (shape, dtype) in self.layout.items()
        }


class Workers:
    """One process for each entry of ``arguments``, which makes ``make(*entry)``.

    what: the workers' name in errors.

    Raises:
        RuntimeError: a worker failed; with its traceback.
    """

    def __init__(self, what: str, make: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> None:
        self._what = what
        self._workers = [_start(make, entry) for entry in arguments]
        try:
            for number in range(len(self)):
                self._answer(number)
        except RuntimeError:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._workers)

    def all(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of every worker's object at once; what they answer."""
        for (_, pipe), given in zip(self._workers, arguments, strict=True):
            pipe.send((method, given))
        return [self._answer(number) for number in range(len(self))]

    def one(self, number: int, method: str, *arguments: Any) -> Any:
        """Call a method of one worker's object."""
        self._workers[number][1].send((method, arguments))
        return self._answer(number)

    def close(self) -> None:
        """Stop them."""
        for process, pipe in self._workers:
            pipe.close()
            process.join(timeout=10)
        self._workers = []

    def _answer(self, number: int) -> Any:
        try:
            error, answer = self._workers[number][1].recv()
        except EOFError:
            raise RuntimeError(
                f"a {self._what} worker ended without a word; does the machine have memory left?"
            ) from None
        if error:
            raise RuntimeError(f"a {self._what} worker failed:\n{error}")
        return answer


def _start(make: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit the threads of torch, and hang
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, make, arguments), daemon=True)
    process.start()
    there.close()
    return process, here


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """A worker's life: do what is asked until the pipe is closed; answers are (error or '', result)."""
    try:
        made = make(*arguments)
        pipe.send(("", None))
    except Exception:
        pipe.send((traceback.format_exc(), None))
        return
    while True:
        try:
            method, given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("", getattr(made, method)(*given)))
        except Exception:
            pipe.send((traceback.format_exc(), None))
