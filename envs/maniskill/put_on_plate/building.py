"""The scene of an episode out of SAPIEN's primitives. m, rad; world frame of the tabletop: z = 0 is the table's top."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sapien
from sapien.physx import PhysxMaterial
from sapien.render import RenderMaterial, RenderTexture2D

from ...tasks.manipulation.scene import OBJECT_FRICTION
from ...tasks.tabletop import textures
from ...tasks.tabletop.catalogue import COLOURS, OBJECTS, RECEPTACLES, Part
from ...tasks.tabletop.episodes import Episode, Placed
from ...tasks.tabletop.scene import INERTIA, MASS, slot

UPRIGHT = (math.sqrt(0.5), 0.0, -math.sqrt(0.5), 0.0)
"""SAPIEN's cylinders lie along x."""
TOP_HALF, TOP_AT = (0.45, 0.60, 0.02), (0.40, 0.0, -0.0205)
"""The visible table top, and where its middle is."""
TILE = 0.25  # m that a table's picture covers
ROLLING = 2.0  # 1/s, damping of a ball's spin, in place of MuJoCo's rolling friction
FLOOR = (0.62, 0.65, 0.68)


def build(scene: Any, episode: Episode) -> dict[str, Any]:
    """Table, objects and receptacles of an episode: body -> actor, by the names of the tabletop's slots."""
    _build_table(scene, episode.table)
    actors = {}
    for i, placed in enumerate(episode.objects):
        actors[slot("object", i)] = _build_object(scene, slot("object", i), placed)
    for i, placed in enumerate(episode.receptacles):
        actors[slot("receptacle", i)] = _build_receptacle(scene, slot("receptacle", i), placed)
    return actors


def _build_object(scene: Any, name: str, placed: Placed) -> Any:
    thing = OBJECTS[placed.pair[1]]
    builder = scene.create_actor_builder()
    for part in thing.parts:
        _add(builder, part, placed)
    builder.set_mass_and_inertia(MASS, sapien.Pose(), INERTIA)
    builder.initial_pose = sapien.Pose([*placed.at, 0.5])
    actor = builder.build_dynamic(name)
    if thing.round:
        actor.set_angular_damping(ROLLING)
    return actor


def _build_receptacle(scene: Any, name: str, placed: Placed) -> Any:
    builder = scene.create_actor_builder()
    for part in RECEPTACLES[placed.pair[1]].parts:
        _add(builder, part, placed)
    builder.initial_pose = sapien.Pose([*placed.at, 0.0], _about_z(placed.yaw))
    return builder.build_kinematic(name)


def _add(builder: Any, part: Part, placed: Placed) -> None:
    """A primitive, to touch and to see."""
    size, pos = (placed.scale * np.array(x) for x in (part.size, part.pos))
    colour = [*(part.shade * np.array(COLOURS[placed.pair[0]])), 1.0]
    touch, look = _rubbing(OBJECT_FRICTION), _coloured(colour)
    if part.kind == "box":
        pose = sapien.Pose(pos, _about_z(part.yaw))
        builder.add_box_collision(pose, size, material=touch)
        builder.add_box_visual(pose, size, material=look)
    elif part.kind == "cylinder":
        pose = sapien.Pose(pos, UPRIGHT)
        builder.add_cylinder_collision(pose, radius=size[0], half_length=size[1], material=touch)
        builder.add_cylinder_visual(pose, radius=size[0], half_length=size[1], material=look)
    else:
        builder.add_sphere_collision(sapien.Pose(pos), radius=size[0], material=touch)
        builder.add_sphere_visual(sapien.Pose(pos), radius=size[0], material=look)


def _build_table(scene: Any, index: int) -> None:
    """What carries is a large block, what is seen a top with the picture of the episode, and a floor below."""
    builder = scene.create_actor_builder()
    builder.add_box_collision(sapien.Pose([0.4, 0, -0.25]), [2, 2, 0.25], material=_rubbing(OBJECT_FRICTION))
    material = RenderMaterial(base_color=[1, 1, 1, 1], roughness=1.0, specular=0.0)
    material.base_color_texture = RenderTexture2D(_picture(index), "R8G8B8A8Unorm", srgb=True)
    builder.add_box_visual(sapien.Pose(TOP_AT), TOP_HALF, material=material)
    builder.add_box_visual(sapien.Pose([0, 0, -0.75]), [4, 4, 0.01], material=_coloured([*FLOOR, 1.0]))
    builder.initial_pose = sapien.Pose()
    builder.build_static("table")


def _picture(index: int) -> np.ndarray:
    """The table's picture laid out over its top, (H, W, 4) uint8."""
    rows, columns = (2 * half / TILE for half in TOP_HALF[:2])
    tiled = np.tile(textures.table(index), (math.ceil(rows), math.ceil(columns), 1))
    cut = tiled[: round(rows * textures.SIZE), : round(columns * textures.SIZE)]
    return np.concatenate([cut, np.full((*cut.shape[:2], 1), 255, np.uint8)], axis=-1)


def _rubbing(friction: float) -> PhysxMaterial:
    return PhysxMaterial(friction, friction, 0.0)


def _coloured(rgba: list[float]) -> RenderMaterial:
    """The catalogue's colours are as a screen shows them; SAPIEN's are in linear light."""
    linear = [channel**2.2 for channel in rgba[:3]]
    return RenderMaterial(base_color=[*linear, rgba[3]], roughness=1.0, specular=0.0)


def _about_z(yaw: float) -> list[float]:
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
