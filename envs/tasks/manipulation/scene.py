"""The table: an arm, free objects, a goal marker, light and a camera in one model.

World frame: the top of the table is z = 0, the arm's base stands at the origin and looks along +x. The table is a
plane to contacts, so nothing falls off it.

Contacts. Objects have contype 1, the hand 2, and both touch what has these bits in its conaffinity: the table and every
object. Parts of an object that never touch the table have contype 4.

Friction. MuJoCo takes the larger one of two geoms; the table has little, so an object's own friction decides how it
slides, and the fingers' pads, which have much, how it is held.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from ...robots.panda import Arm

_BOX, _PLANE = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_PLANE
TABLE_FRICTION = 0.1
OBJECT_FRICTION = 0.6
STIFF = [0.01, 1.0]  # contacts give way by well below a millimetre; the time constant is the least for 5 ms
MARKER = "goal"

RED, BLUE = (0.83, 0.24, 0.22, 1.0), (0.16, 0.42, 0.72, 1.0)
YELLOW, GREEN, WOOD = (0.93, 0.69, 0.20, 1.0), (0.25, 0.75, 0.40, 0.45), (0.62, 0.46, 0.30, 1.0)


def base_scene(arm: Arm, timestep: float) -> mujoco.MjSpec:
    """Arm and table, ready for objects."""
    spec = mujoco.MjSpec.from_file(str(arm.xml))
    option = spec.option
    option.timestep = timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0  # what is held does not creep out of the fingers
    option.iterations, option.ls_iterations = 20, 20
    spec.worldbody.add_geom(
        name="table",
        type=_PLANE,
        size=[0, 0, 0.05],
        contype=0,
        conaffinity=3,
        friction=[TABLE_FRICTION, 0.01, 0.001],
        solref=STIFF,
        group=3,  # seen is the box that _add_surroundings makes
    )
    return spec


def add_boxes(
    spec: mujoco.MjSpec,
    name: str,
    boxes: Sequence[tuple[Sequence[float], Sequence[float]]],
    mass: float,
    rgba: Sequence[float],
    off_table: Sequence[int] = (),
) -> None:
    """A free body of boxes (centre, half sizes) [m], of even density and ``mass`` [kg] in all.

    off_table: numbers of the boxes that never touch the table, which spares contacts.
    """
    body = spec.worldbody.add_body(name=name)
    body.add_freejoint(name=name)
    volume = sum(float(np.prod(half)) for _, half in boxes)
    for number, (centre, half) in enumerate(boxes):
        body.add_geom(
            name=f"{name}_{number}",
            type=_BOX,
            pos=list(centre),
            size=list(half),
            mass=mass * float(np.prod(half)) / volume,
            contype=4 if number in off_table else 1,
            conaffinity=3,
            friction=[OBJECT_FRICTION, 0.01, 0.001],
            solref=STIFF,
            rgba=list(rgba),
        )


def add_marker(
    spec: mujoco.MjSpec,
    boxes: Sequence[tuple[Sequence[float], Sequence[float]]] = (),
    radius: float = 0.02,
    rgba: Sequence[float] = GREEN,
) -> None:
    """What shows the goal and touches nothing: boxes (centre, half sizes), or a ball of this radius [m]."""
    body = spec.worldbody.add_body(name=MARKER, mocap=True)
    looks = {"contype": 0, "conaffinity": 0, "rgba": list(rgba)}
    for centre, half in boxes:
        body.add_geom(type=_BOX, pos=list(centre), size=list(half), **looks)
    if not boxes:
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[radius, 0, 0], **looks)


def compile_scene(spec: mujoco.MjSpec, visuals: bool) -> mujoco.MjModel:
    """The model, with what only looks good or without it; both have the same state but for the marker."""
    if visuals:
        _add_surroundings(spec)
        return spec.compile()
    for geom in list(spec.geoms):
        if geom.contype == 0 and geom.conaffinity == 0:
            spec.delete(geom)
    if spec.body(MARKER) is not None:
        spec.delete(spec.body(MARKER))
    return spec.compile()


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    sky, gradient = mujoco.mjtTexture.mjTEXTURE_SKYBOX, mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    spec.add_texture(
        name="sky", type=sky, builtin=gradient, rgb1=[0.78, 0.84, 0.90], rgb2=[0.96, 0.96, 0.95], width=256, height=1536
    )
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.quality.shadowsize = 4096
    spec.visual.headlight.ambient = [0.38, 0.38, 0.38]
    spec.visual.headlight.diffuse = [0.30, 0.30, 0.30]
    spec.visual.headlight.specular = [0.05, 0.05, 0.05]
    spec.stat.extent, spec.stat.center = 1.2, [0.4, 0.0, 0.1]
    world = spec.worldbody
    _add_table(spec)
    world.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.9, -0.6, 1.8],
        dir=[-0.35, 0.40, -0.85],
        diffuse=[0.60, 0.59, 0.57],
        specular=[0.2, 0.2, 0.2],
        castshadow=True,
    )
    eye, target = np.array([1.36, -0.84, 0.78]), np.array([0.36, 0.02, 0.20])
    world.add_camera(name="track", pos=eye.tolist(), fovy=38, xyaxes=_looking(target - eye))


def _add_table(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="table",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=[0.80, 0.74, 0.66],
        random=0.02,
        mark=mujoco.mjtMark.mjMARK_RANDOM,
        markrgb=[0.76, 0.70, 0.61],
        width=512,
        height=512,
    )
    material = spec.add_material(name="table", texuniform=True, texrepeat=[2, 2], reflectance=0.01, shininess=0.2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "table"
    looks = {"type": _BOX, "contype": 0, "conaffinity": 0}
    spec.worldbody.add_geom(size=[0.60, 0.70, 0.02], pos=[0.40, 0, -0.0205], material="table", **looks)
    for x in (-0.12, 0.92):
        for y in (-0.62, 0.62):
            spec.worldbody.add_geom(size=[0.03, 0.03, 0.35], pos=[x, y, -0.39], rgba=[0.35, 0.33, 0.31, 1], **looks)
    spec.worldbody.add_geom(size=[4, 4, 0.01], pos=[0, 0, -0.75], rgba=[0.62, 0.65, 0.68, 1], **looks)


def _looking(direction: np.ndarray) -> list[float]:
    """The x and y axes of an upright camera that looks along ``direction``."""
    z = -direction / np.linalg.norm(direction)
    x = np.cross([0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    return [*x, *np.cross(z, x)]
