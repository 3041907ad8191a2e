"""One model for every episode: two object slots and two receptacle slots, each with the geoms of all shapes.

A shape that a slot does not show touches nothing and is invisible, so that worlds differ in per-world fields of one
compiled model. Receptacles stand still: bodies of the world, whose places are model fields as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import mujoco
import numpy as np

from ...robots.panda import PANDA
from ..manipulation.scene import OBJECT_FRICTION, STIFF, base_scene, compile_scene
from . import textures
from .catalogue import OBJECTS, RECEPTACLES, Part, Thing

SLOTS = 2
MASS = 0.06  # kg, of every object
INERTIA = [2.4e-5] * 3  # kg m^2, of an even cube of 5 cm edge and that mass
CAMERA = "eye"
ROLLING = [OBJECT_FRICTION, 0.01, 0.004]  # m, the last: a ball comes to rest within a few centimetres
PADS = ("left_finger", "right_finger")
PER_WORLD = (
    *("geom_size", "geom_pos", "geom_rbound", "geom_contype", "geom_conaffinity"),
    *("body_pos", "body_quat", "body_gravcomp"),
)
"""Model fields that an episode sets."""

_GEOM = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def slot(kind: str, number: int) -> str:
    """The body of a slot: ``object_0``, ``receptacle_1``."""
    return f"{kind}_{number}"


def geom(body: str, thing: str, part: int) -> str:
    """The name of a geom."""
    return f"{body}_{thing}_{part}"


def sensor(one: str, other: str) -> str:
    """The name of the sensor that counts the contacts of two bodies."""
    return f"{one}:{other}"


def physics_model(timestep: float) -> mujoco.MjModel:
    """What is simulated."""
    spec = base_scene(PANDA, timestep)
    furnish(spec)
    return compile_scene(spec, visuals=False)


def visual_model(timestep: float) -> mujoco.MjModel:
    """The same with all that is seen: arm, table tops, light, camera."""
    spec = base_scene(PANDA, timestep)
    furnish(spec)
    _add_surroundings(spec)
    model = spec.compile()
    _paint_tables(model)
    return model


def furnish(spec: mujoco.MjSpec) -> None:
    """Add the slots and the sensors of their contacts to arm and table."""
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE  # its boxes do not follow per-world geoms
    for number in range(SLOTS):
        body = spec.worldbody.add_body(name=slot("object", number), mass=MASS, inertia=INERTIA, explicitinertial=True)
        body.add_freejoint(name=slot("object", number))
        _add_shapes(body, OBJECTS)
    for number in range(SLOTS):
        _add_shapes(spec.worldbody.add_body(name=slot("receptacle", number)), RECEPTACLES)
    for number in range(SLOTS):
        for other in (*PADS, *(slot("receptacle", i) for i in range(SLOTS))):
            _add_contact_sensor(spec, slot("object", number), other)


def _add_shapes(body: mujoco.MjsBody, things: Mapping[str, Thing]) -> None:
    """The geoms of every shape; see :func:`contact_bits`."""
    for name, thing in things.items():
        for i, part in enumerate(thing.parts):
            body.add_geom(
                name=geom(body.name, name, i),
                type=_GEOM[part.kind],
                size=list(part.size),
                pos=list(part.pos),
                quat=[math.cos(part.yaw / 2), 0, 0, math.sin(part.yaw / 2)],
                mass=0.0,
                contype=contact_bits(body.name)[0],
                conaffinity=contact_bits(body.name)[1],
                condim=6 if thing.round else 3,
                friction=ROLLING if thing.round else [OBJECT_FRICTION, 0.01, 0.001],
                solref=STIFF,
            )


def contact_bits(body: str) -> tuple[int, int]:
    """contype and conaffinity of a geom that is shown: objects have 1, as in all of the manipulation tasks, the hand 2,
    and receptacles touch both."""
    return (1 if body.startswith("object") else 0), 3


def _add_contact_sensor(spec: mujoco.MjSpec, one: str, other: str) -> None:
    spec.add_sensor(
        name=sensor(one, other),
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname=one,
        reftype=mujoco.mjtObj.mjOBJ_BODY,
        refname=other,
        intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 0, 1],
    )


def parts() -> list[tuple[str, str, int, Part]]:
    """Every geom of the slots in one order: body, shape, number of the part, part."""
    kinds = (("object", OBJECTS), ("receptacle", RECEPTACLES))
    return [
        (slot(kind, number), name, i, part)
        for kind, things in kinds
        for number in range(SLOTS)
        for name, thing in things.items()
        for i, part in enumerate(thing.parts)
    ]


def table_material(index: int) -> str:
    """The name of a table top."""
    return f"table_{index}"


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.headlight.ambient = [0.45, 0.45, 0.45]
    spec.visual.headlight.diffuse = [0.25, 0.25, 0.25]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.visual.rgba.haze = [0.86, 0.88, 0.90, 1]
    spec.stat.extent, spec.stat.center = 1.2, [0.4, 0.0, 0.1]
    for index in (*textures.SEEN_TABLES, *textures.UNSEEN_TABLES):
        _add_table_material(spec, index)
    looks = {"contype": 0, "conaffinity": 0, "type": mujoco.mjtGeom.mjGEOM_BOX}
    spec.worldbody.add_geom(
        name="table_top", size=[0.45, 0.60, 0.02], pos=[0.40, 0, -0.0205], material=table_material(0), **looks
    )
    spec.worldbody.add_geom(size=[4, 4, 0.01], pos=[0, 0, -0.75], rgba=[0.62, 0.65, 0.68, 1], **looks)
    spec.worldbody.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.9, -0.6, 1.8],
        dir=[-0.35, 0.40, -0.85],
        diffuse=[0.50, 0.50, 0.48],
        specular=[0.1, 0.1, 0.1],
        castshadow=False,
    )
    eye, target = np.array([1.02, -0.16, 0.52]), np.array([0.48, 0.0, 0.075])
    spec.worldbody.add_camera(name=CAMERA, pos=eye.tolist(), fovy=40, xyaxes=_looking(target - eye))


def _add_table_material(spec: mujoco.MjSpec, index: int) -> None:
    """A material with a blank texture, for :func:`_paint_tables`."""
    size = textures.SIZE
    flat = {"type": mujoco.mjtTexture.mjTEXTURE_2D, "builtin": mujoco.mjtBuiltin.mjBUILTIN_FLAT}
    spec.add_texture(name=table_material(index), width=size, height=size, **flat)
    material = spec.add_material(
        name=table_material(index), texuniform=True, texrepeat=[2, 2], reflectance=0, shininess=0, specular=0
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = table_material(index)


def _paint_tables(model: mujoco.MjModel) -> None:
    """Put the pictures into the compiled model, which is much faster than through its specification."""
    for index in (*textures.SEEN_TABLES, *textures.UNSEEN_TABLES):
        picture, start = textures.table(index), model.texture(table_material(index)).adr[0]
        model.tex_data[start : start + picture.size] = picture.ravel()


def _looking(direction: np.ndarray) -> list[float]:
    """The x and y axes of an upright camera that looks along ``direction``."""
    z = -direction / np.linalg.norm(direction)
    x = np.cross([0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    return [*x, *np.cross(z, x)]
