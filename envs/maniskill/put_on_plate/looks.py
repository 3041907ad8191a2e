"""How the twin looks: the MuJoCo scene's camera and lamps in SAPIEN's terms, and the blended textures of some rows."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import mujoco
import numpy as np
import sapien

from ...tasks.tabletop.scene import CAMERA, visual_model

AMBIENT = 0.35
LAMP, LAMP_LIGHT = (-0.35, 0.40, -0.85), 1.75
HEADLIGHT = 0.5
"""Chosen by eye and by the mean of the images: SAPIEN shades by physics, MuJoCo by OpenGL's fixed rules."""


@cache
def eye() -> tuple[sapien.Pose, float]:
    """Pose and vertical angle of view [rad]. MuJoCo's camera looks along -z with y up, SAPIEN's along x with z up."""
    model = visual_model(0.005)
    camera = model.camera(CAMERA)
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, camera.quat)
    right, up, back = axes.reshape(3, 3).T
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.stack([-back, -right, up], axis=1).ravel())
    return sapien.Pose(camera.pos, quat), math.radians(float(camera.fovy[0]))


def light(scene: Any) -> None:
    """A lamp from above, and one from the camera; no shadows."""
    scene.set_ambient_light([AMBIENT] * 3)
    scene.add_directional_light(LAMP, [LAMP_LIGHT] * 3, shadow=False)
    towards = eye()[0].to_transformation_matrix()[:3, 0]
    scene.add_directional_light(towards.tolist(), [HEADLIGHT] * 3, shadow=False)


def blended(image: np.ndarray, texture: np.ndarray, strength: float, mask: np.ndarray) -> np.ndarray:
    """The image with the texture's share ``strength`` where the mask (h, w) says so; (h, w, 3) uint8 each."""
    mixed = np.rint((1 - strength) * image + strength * texture).astype(np.uint8)
    return np.where(mask[..., None], mixed, image)
