"""Images of many worlds from one graphics context, drawn in software as fast as that goes.

One scene and one model are reused for all worlds; no shadows, reflections, sky or anti-aliasing. A context belongs to
the thread that made it.
"""

from __future__ import annotations

import os

import mujoco
import numpy as np
from mujoco.rendering.classic import gl_context

from . import textures
from .dressing import Dressing, VisualWardrobe, dress
from .episodes import episode
from .rows import ROWS
from .scene import visual_model

_OFF = ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE")
_MAX_GEOMS = 300


class Camera:
    """Draws the episodes of a row, (size, size, 3) uint8 each."""

    def __init__(self, row: str, size: int, timestep: float) -> None:
        os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's rasteriser draws in this thread, beside other workers
        self._row, self._size, self._strength = row, size, ROWS[row].strength
        model = visual_model(timestep)
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        self._model, self._data, self._wardrobe = model, mujoco.MjData(model), VisualWardrobe(model)
        self._gl = gl_context.GLContext(size, size)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene, self._options = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS), mujoco.MjvOption()
        for name in _OFF:
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{name}")] = 0
        self._eye = mujoco.MjvCamera()
        self._eye.type, self._eye.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._wardrobe.camera
        self._rect, self._pixels = mujoco.MjrRect(0, 0, size, size), np.zeros((size, size, 3), np.uint8)
        self._textured = _arm_and_objects(model, self._wardrobe)
        self._dressings: dict[int, Dressing] = {}

    def shoot(
        self, worlds: np.ndarray, qpos: np.ndarray, number: np.ndarray, step: np.ndarray, out: np.ndarray
    ) -> None:
        """Draw these worlds (n,) into ``out`` (N, size, size, 3).

        qpos: (N, nq) of all worlds.  number: (N,) of their episodes.  step: (N,) control steps since their start.
        """
        self._gl.make_current()
        for world in worlds.tolist():
            self._shoot(int(number[world]), int(step[world]), qpos[world], out[world])

    def _shoot(self, number: int, step: int, qpos: np.ndarray, out: np.ndarray) -> None:
        self._wardrobe.wear(self._dressing(number))
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, self._data, self._options, None, self._eye, every, self._scene)
        out[:] = self.draw()
        if ROWS[self._row].overlay:
            self._blend(out, number, step)

    def draw(self) -> np.ndarray:
        """(size, size, 3), upside up; overwritten by the next."""
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        return self._pixels[::-1]

    def _blend(self, image: np.ndarray, number: int, step: int) -> None:
        """A texture that moves with every control step, on the whole image or on arm and objects."""
        ep = episode(self._row, number)
        assert ep.overlay is not None
        texture = textures.window(ep.overlay, ep.key, step, self._size, self._size)
        blended = np.rint((1 - self._strength) * image + self._strength * texture).astype(np.uint8)
        mask = self._mask() if ROWS[self._row].overlay == "things" else np.ones(image.shape[:2], bool)
        image[mask] = blended[mask]

    def _mask(self) -> np.ndarray:
        """(size, size) bool: pixels of the arm and of objects, by drawing every geom in the colour of its number."""
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        colour = self.draw().astype(np.int64)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        textured = np.zeros(self._scene.ngeom + 1, bool)  # number 0 is the background
        for drawn in self._scene.geoms[: self._scene.ngeom]:
            textured[drawn.segid + 1] = drawn.objid in self._textured
        return textured[colour[..., 0] + 256 * colour[..., 1] + 65536 * colour[..., 2]]

    def _dressing(self, number: int) -> Dressing:
        """Kept, because a camera sees the same episodes step by step; forgotten by the thousand."""
        if number not in self._dressings:
            if len(self._dressings) >= 1000:
                self._dressings.clear()
            self._dressings[number] = dress(episode(self._row, number))
        return self._dressings[number]

    def close(self) -> None:
        """Free the graphics context."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()


def _arm_and_objects(model: mujoco.MjModel, wardrobe: VisualWardrobe) -> set[int]:
    """Ids of the geoms of the arm and of the objects."""
    arm = model.body("link0").id
    of_arm = {i for i in range(model.ngeom) if arm in _chain(model, int(model.geom_bodyid[i]))}
    return of_arm | set(wardrobe.object_geoms.tolist())


def _chain(model: mujoco.MjModel, body: int) -> list[int]:
    """A body and all it hangs on."""
    found = [body]
    while body:
        body = int(model.body_parentid[body])
        found.append(body)
    return found
