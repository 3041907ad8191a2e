"""Images of N worlds, drawn here or by worker processes.

A graphics context is one thread, so more processors help through processes only. They share four arrays with this one:
the worlds' coordinates, their episodes' numbers, the control steps and the frames; a message names the worlds to draw.
"""

from __future__ import annotations

import numpy as np

from ...workers import SharedArrays, Workers


class Renderer:
    """Draws worlds of one row; see :class:`camera.Camera`.

    qpos: (N, nq), number: (N,), step: (N,): write them, then :meth:`draw`.  frames: (N, size, size, 3), read them.
    """

    def __init__(self, row: str, size: int, timestep: float, *, worlds: int, nq: int, workers: int) -> None:
        from ...graphics import choose_gl

        choose_gl()
        shared = SharedArrays(
            {
                "qpos": ((worlds, nq), "float64"),
                "number": ((worlds,), "int64"),
                "step": ((worlds,), "int64"),
                "out": ((worlds, size, size, 3), "uint8"),
            }
        )
        self.qpos, self.number, self.step, self.frames = shared.views().values()
        seen = (shared, row, size, timestep)
        self._here = None if workers else Eye(*seen)
        self._workers = Workers("render", Eye, [seen] * min(workers, worlds))

    def draw(self, worlds: np.ndarray) -> None:
        """Bring the frames of these worlds (n,) up to date."""
        if self._here is not None:
            self._here.shoot(worlds)
        else:
            self._workers.all("shoot", [(worlds[i :: len(self._workers)],) for i in range(len(self._workers))])

    def close(self) -> None:
        """Free the graphics context, or stop the workers."""
        if self._here is not None:
            self._here.camera.close()
            self._here = None
        self._workers.close()


class Eye:
    """A camera in one process, on the arrays that processes share."""

    def __init__(self, shared: SharedArrays, row: str, size: int, timestep: float) -> None:
        from .camera import Camera

        self.camera, self._arrays = Camera(row, size, timestep), shared.views()

    def shoot(self, worlds: np.ndarray) -> None:
        """Draw these worlds (n,)."""
        self.camera.shoot(worlds, **self._arrays)
