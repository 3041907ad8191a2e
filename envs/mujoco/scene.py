"""A robot on its ground: one compiled MuJoCo model.

Contacts. The ground has contype 1 and conaffinity 1; the robots' own bits are explained in their MJCF. The mode
``feet`` clears the bits of everything but the feet, so that a walking robot has at most one contact a foot. The mode
``full`` keeps every primitive and the contacts of calves and feet with the trunk and with the other legs.

Friction. MuJoCo takes the larger friction of two geoms, unless their priorities differ: the feet have priority 1, so
their own ``geom_friction`` alone decides how they grip. Randomise that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from ..robots.robot import Robot

_CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}
_INTEGRATORS = {
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "discrete": mujoco.mjtIntegrator.mjINT_DISCRETE,
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
}
_COLLISIONS = ("feet", "full")
_HFIELD_BASE = 1.0  # m of solid ground below the lowest point of a height field


@dataclass(frozen=True)
class SceneConfig:
    """How the scene is simulated.

    timestep: seconds of one substep.  collision: ``feet`` or ``full``.  cone: friction cone.
    iterations, ls_iterations: upper bounds for the Newton solver and its line search; it stops earlier once converged.
    friction: sliding friction of the ground; it matters for what is not a foot.
    visuals: keep geoms that touch nothing, lights and cameras. Without them a substep is cheaper, the state and the
        sensors are the same, and geom numbers differ: simulate without, render with.
    """

    timestep: float = 0.005
    collision: str = "feet"
    cone: str = "pyramidal"
    integrator: str = "implicitfast"
    iterations: int = 20
    ls_iterations: int = 20
    friction: float = 0.8
    visuals: bool = True

    def __post_init__(self) -> None:
        for name, choices in (("collision", _COLLISIONS), ("cone", _CONES), ("integrator", _INTEGRATORS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(choices)}")
        for name in ("timestep", "iterations", "ls_iterations"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Heightfield:
    """Ground heights [m], (rows, cols): rows run along +y, columns along +x, centred on (centre_x, centre_y).

    size_x, size_y: metres from the first column (row) to the last.
    """

    heights: np.ndarray
    size_x: float
    size_y: float
    centre_x: float = 0.0
    centre_y: float = 0.0

    def __post_init__(self) -> None:
        if np.ndim(self.heights) != 2 or min(np.shape(self.heights)) < 2:
            raise ValueError(f"heights must be (rows, cols), 2 or more of each, got shape {np.shape(self.heights)}")
        if not np.isfinite(self.heights).all():
            raise ValueError("heights must be finite")
        if self.size_x <= 0 or self.size_y <= 0:
            raise ValueError(f"a height field needs a positive size, got {self.size_x} x {self.size_y} m")

    def around(self, x: float, y: float, reach: float) -> Heightfield:
        """The part of this field within ``reach`` m of (x, y) along either axis, cut at grid points, where it was."""
        columns, from_x, size_x = _cut(np.shape(self.heights)[1], self.size_x, x - self.centre_x, reach)
        rows, from_y, size_y = _cut(np.shape(self.heights)[0], self.size_y, y - self.centre_y, reach)
        part = self.heights[rows, columns]
        return Heightfield(part, size_x, size_y, self.centre_x + from_x, self.centre_y + from_y)


def _cut(count: int, size: float, at: float, reach: float) -> tuple[slice, float, float]:
    """Of ``count`` points over ``size`` m about zero, those within reach of ``at``: which, their centre, extent."""
    step = size / (count - 1)
    middle = (at + size / 2) / step
    first = min(max(round(middle - reach / step), 0), count - 2)
    last = max(min(round(middle + reach / step), count - 1), first + 1)
    return slice(first, last + 1), ((first + last) * step - size) / 2, (last - first) * step


def build_model(robot: Robot, scene: SceneConfig, heightfield: Heightfield | None = None) -> mujoco.MjModel:
    """Compile the robot on a flat floor (geom ``floor``), or on a height field (geom ``terrain``).

    Sensors, besides those of the MJCF: ``FR_foot_contact`` ... count the contacts of a foot with anything; in the mode
    ``full`` also ``base_contact``, ``FR_hip_contact``, ``FR_thigh_contact``, ``FR_calf_contact`` ..., feet not counted.
    """
    spec = mujoco.MjSpec.from_file(str(robot.xml))
    _set_options(spec, scene)
    _set_collisions(spec, robot, scene)
    _add_contact_sensors(spec, robot, scene)
    if heightfield is None:
        _add_floor(spec, scene)
    else:
        _add_terrain(spec, scene, heightfield)
    if scene.visuals:
        _add_surroundings(spec)
    else:
        _drop_visuals(spec)
    return spec.compile()


def _set_options(spec: mujoco.MjSpec, scene: SceneConfig) -> None:
    spec.option.timestep = scene.timestep
    spec.option.cone = _CONES[scene.cone]
    spec.option.integrator = _INTEGRATORS[scene.integrator]
    spec.option.iterations = scene.iterations
    spec.option.ls_iterations = scene.ls_iterations
    spec.option.impratio = 10.0 if scene.cone == "elliptic" else 1.0  # keeps feet from creeping; elliptic cones only
    # One robot is one island; looking for islands costs a substep 7 % of its time.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND


def _set_collisions(spec: mujoco.MjSpec, robot: Robot, scene: SceneConfig) -> None:
    if scene.collision == "full":
        return
    for geom in spec.geoms:
        geom.contype, geom.conaffinity = 0, int(geom.name in robot.spec.foot_names)


def _add_contact_sensors(spec: mujoco.MjSpec, robot: Robot, scene: SceneConfig) -> None:
    for foot in robot.spec.foot_names:
        _contact_sensor(spec, f"{foot}_contact", mujoco.mjtObj.mjOBJ_GEOM, foot)
    if scene.collision == "feet":
        return
    _contact_sensor(spec, "base_contact", mujoco.mjtObj.mjOBJ_BODY, "base")
    for leg in robot.leg_names:
        for link in ("hip", "thigh", "calf"):
            _contact_sensor(spec, f"{leg}_{link}_contact", mujoco.mjtObj.mjOBJ_GEOM, f"{leg}_{link}")


def _contact_sensor(spec: mujoco.MjSpec, name: str, kind: mujoco.mjtObj, subject: str) -> None:
    """Counts the contacts of a geom, or of all geoms of a body, with anything."""
    found, no_reduction, slots = 1 << mujoco.mjtConDataField.mjCONDATA_FOUND.value, 0, 1
    spec.add_sensor(
        name=name,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=kind,
        objname=subject,
        intprm=[found, no_reduction, slots],
    )


def _ground(spec: mujoco.MjSpec, scene: SceneConfig) -> dict[str, Any]:
    """What floor and terrain share."""
    material = _ground_material(spec).name if scene.visuals else ""
    friction = [scene.friction, 0.02, 0.01]
    return {"contype": 1, "conaffinity": 1, "condim": 3, "friction": friction, "material": material}


def _add_floor(spec: mujoco.MjSpec, scene: SceneConfig) -> None:
    # Sizes 0: the plane has no border. The third is the spacing of its grid lines.
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.05], **_ground(spec, scene))


def _add_terrain(spec: mujoco.MjSpec, scene: SceneConfig, field: Heightfield) -> None:
    low, high = float(np.min(field.heights)), float(np.max(field.heights))
    rise = max(high - low, 1e-3)  # MuJoCo wants a positive elevation, also of a flat field
    rows, cols = np.shape(field.heights)
    spec.add_hfield(
        name="terrain",
        nrow=rows,
        ncol=cols,
        size=[field.size_x / 2, field.size_y / 2, rise, _HFIELD_BASE],
        userdata=((np.asarray(field.heights, float) - low) / rise).ravel().tolist(),
    )
    spec.worldbody.add_geom(
        name="terrain",
        type=mujoco.mjtGeom.mjGEOM_HFIELD,
        hfieldname="terrain",
        pos=[field.centre_x, field.centre_y, low],
        **_ground(spec, scene),
    )


def _ground_material(spec: mujoco.MjSpec) -> mujoco.MjsMaterial:
    spec.add_texture(
        name="ground",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=[0.29, 0.35, 0.41],
        rgb2=[0.34, 0.40, 0.46],
        markrgb=[0.46, 0.52, 0.58],
        width=512,
        height=512,
    )
    material = spec.add_material(name="ground", texuniform=True, texrepeat=[1, 1])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "ground"
    return material


def _add_surroundings(spec: mujoco.MjSpec) -> None:
    """Sky, sun, and the camera ``track`` that follows the robot from the side and a little behind."""
    sky, gradient = mujoco.mjtTexture.mjTEXTURE_SKYBOX, mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    spec.add_texture(
        name="sky", type=sky, builtin=gradient, rgb1=[0.55, 0.68, 0.82], rgb2=[0.92, 0.94, 0.96], width=256, height=1536
    )
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 720
    spec.stat.extent = 2.0  # m; scales haze, clipping and shadows, which must not depend on the size of a terrain
    spec.visual.map.shadowclip = 2.0
    spec.visual.quality.shadowsize = 4096
    spec.visual.headlight.ambient = [0.35, 0.35, 0.35]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.visual.rgba.haze = [0.92, 0.94, 0.96, 1]
    base = spec.body("base")
    light, camera = mujoco.mjtCamLight.mjCAMLIGHT_TRACK, mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM
    base.add_light(
        name="sun",
        mode=light,
        pos=[-1.0, -1.5, 4.0],
        dir=[0.24, 0.36, -0.9],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[0.6, 0.6, 0.58],
        specular=[0.3, 0.3, 0.3],
        castshadow=True,
    )
    base.add_camera(name="track", mode=camera, pos=[-0.55, -1.15, 0.38], fovy=45, xyaxes=_looking([0.55, 1.15, -0.42]))


def _looking(direction: list[float]) -> list[float]:
    """The x and y axes of an upright camera that looks along ``direction``."""
    z = -np.asarray(direction) / np.linalg.norm(direction)
    x = np.cross([0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    return [*x, *np.cross(z, x)]


def _drop_visuals(spec: mujoco.MjSpec) -> None:
    for geom in list(spec.geoms):
        if geom.contype == 0 and geom.conaffinity == 0:
            spec.delete(geom)
