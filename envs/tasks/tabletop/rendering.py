"""Images of N worlds, drawn here or by worker processes.

A graphics context is one thread, so more processors help through processes only. They share four arrays with this one:
the worlds' coordinates, their episodes' numbers, the control steps and the frames; a message names the worlds to draw.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Shared:
    """qpos: (N, nq) float64.  number, step: (N,) int64.  frames: (N, size, size, 3) uint8; as raw shared memory."""

    qpos: Any
    number: Any
    step: Any
    frames: Any
    worlds: int
    size: int

    @classmethod
    def make(cls, worlds: int, nq: int, size: int) -> Shared:
        """Zeros."""
        raw = multiprocessing.get_context("spawn").RawArray
        pixels = worlds * size * size * 3
        return cls(
            raw(ctypes.c_double, worlds * nq),
            raw(ctypes.c_int64, worlds),
            raw(ctypes.c_int64, worlds),
            raw(ctypes.c_uint8, pixels),
            worlds,
            size,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Views on the same memory."""
        return {
            "qpos": np.frombuffer(self.qpos, np.float64).reshape(self.worlds, -1),
            "number": np.frombuffer(self.number, np.int64),
            "step": np.frombuffer(self.step, np.int64),
            "out": np.frombuffer(self.frames, np.uint8).reshape(self.worlds, self.size, self.size, 3),
        }


class Renderer:
    """Draws worlds of one row; see :class:`camera.Camera`.

    qpos: (N, nq), number: (N,), step: (N,): write them, then :meth:`draw`.  frames: (N, size, size, 3), read them.
    """

    def __init__(self, row: str, size: int, timestep: float, *, worlds: int, nq: int, workers: int) -> None:
        from ...graphics import choose_gl

        choose_gl()
        shared = Shared.make(worlds, nq, size)
        self._arrays = shared.arrays()
        self.qpos, self.number, self.step, self.frames = self._arrays.values()
        self._camera: Any = None
        self._workers: list[tuple[Any, Connection]] = []
        if workers:
            self._workers = [_start(shared, (row, size, timestep)) for _ in range(min(workers, worlds))]
        else:
            from .camera import Camera

            self._camera = Camera(row, size, timestep)

    def draw(self, worlds: np.ndarray) -> None:
        """Bring the frames of these worlds (n,) up to date."""
        if self._camera is not None:
            self._camera.shoot(worlds, **self._arrays)
            return
        for i, (_, pipe) in enumerate(self._workers):
            pipe.send(worlds[i :: len(self._workers)])
        for _, pipe in self._workers:
            _answer(pipe)

    def close(self) -> None:
        """Stop the workers."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        for process, pipe in self._workers:
            pipe.close()
            process.join(timeout=10)
        self._workers = []


def _start(shared: Shared, camera: tuple[str, int, float]) -> tuple[Any, Connection]:
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit the threads of torch, and hang
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, shared, camera), daemon=True)
    process.start()
    there.close()
    return process, here


def _answer(pipe: Connection) -> None:
    try:
        error = pipe.recv()
    except EOFError:
        raise RuntimeError("a render worker ended without a word; does the machine have memory left?") from None
    if error:
        raise RuntimeError(f"a render worker failed:\n{error}")


def serve(pipe: Connection, shared: Shared, camera: tuple[str, int, float]) -> None:
    """A worker's life: draw the worlds that are asked for until the pipe is closed; answers are errors or ''."""
    from .camera import Camera

    arrays, eye = shared.arrays(), None
    while True:
        try:
            worlds = pipe.recv()
        except EOFError:
            return
        try:
            eye = eye or Camera(*camera)
            eye.shoot(worlds, **arrays)
            pipe.send("")
        except Exception:
            pipe.send(traceback.format_exc())
