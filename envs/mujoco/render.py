"""Off-screen frames of single worlds, by MuJoCo's own renderer."""

from __future__ import annotations

import mujoco
import numpy as np


class WorldRenderer:
    """Renders any world of a batch: the world's model and data are handed in at every frame."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self.model, self.size = model, (width, height)
        self._renderer = mujoco.Renderer(model, height, width)

    def render(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str | int = -1) -> np.ndarray:
        """RGB (height, width, 3) uint8 from the named camera; -1 is the free camera, or ``track`` if there is one."""
        if camera == -1 and mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track") >= 0:
            camera = "track"
        self._renderer.update_scene(data, camera)
        return self._renderer.render()

    def close(self) -> None:
        """Free the graphics context."""
        self._renderer.close()
