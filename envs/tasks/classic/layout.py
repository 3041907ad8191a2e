"""Names and units of a classic task's observation and action, read from its model."""

from __future__ import annotations

from itertools import groupby

import mujoco

from embodied.types import ActionSpec, ObsTerm

Element = tuple[str, str, str, str]  # element name, term, unit, frame

_SLIDE, _FREE = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_FREE


def position_terms(model: mujoco.MjModel, skip: int) -> tuple[ObsTerm, ...]:
    """Terms of ``qpos[skip:]``."""
    elements: list[Element] = []
    for joint in range(model.njnt):
        name, kind = model.joint(joint).name, model.jnt_type[joint]
        if kind == _FREE:
            elements += [(f"{name}_{axis}", "root_position", "m", "world") for axis in "xyz"]
            elements += [(f"{name}_q{axis}", "root_quaternion", "1", "world") for axis in "wxyz"]
        elif kind == _SLIDE:
            elements.append((name, "root_position", "m", "world"))
        else:
            elements.append((name, "joint_position", "rad", "joint"))
    return _terms(elements[skip:])


def velocity_terms(model: mujoco.MjModel) -> tuple[ObsTerm, ...]:
    """Terms of ``qvel``."""
    elements: list[Element] = []
    for joint in range(model.njnt):
        name, kind = model.joint(joint).name, model.jnt_type[joint]
        if kind == _FREE:
            elements += [(f"{name}_v{axis}", "root_linear_velocity", "m/s", "world") for axis in "xyz"]
            elements += [(f"{name}_w{axis}", "root_angular_velocity", "rad/s", "base") for axis in "xyz"]
        elif kind == _SLIDE:
            elements.append((name, "root_linear_velocity", "m/s", "world"))
        else:
            elements.append((name, "joint_velocity", "rad/s", "joint"))
    return _terms(elements)


def contact_term(model: mujoco.MjModel) -> ObsTerm:
    """Clipped contact torque and force on every body but the world."""
    parts = ("tx", "ty", "tz", "fx", "fy", "fz")
    bodies = [model.body(i).name or f"body_{i}" for i in range(1, model.nbody)]
    names = tuple(f"{body}_{part}" for body in bodies for part in parts)
    return ObsTerm("contact_force", len(names), "N m, N", "world", names=names)


def action_spec(model: mujoco.MjModel, clip: bool) -> ActionSpec:
    """Motor commands, one an actuator; the model's gears turn them into torques [N m]."""
    names = tuple(model.joint(joint).name for joint in model.actuator_trnid[:, 0])
    low, high = model.actuator_ctrlrange.T
    if clip and len({*low.tolist()}) + len({*high.tolist()}) > 2:
        raise ValueError("clip_actions needs the same control range for every actuator")
    size = len(names)
    return ActionSpec(
        names,
        offset=(0.0,) * size,
        scale=(1.0,) * size,
        low=float(low[0]) if clip else None,
        high=float(high[0]) if clip else None,
        command_low=tuple(low.tolist()),
        command_high=tuple(high.tolist()),
    )


def _terms(elements: list[Element]) -> tuple[ObsTerm, ...]:
    """One term for each run of elements that share term, unit and frame."""
    runs = [(key, [name for name, *_ in run]) for key, run in groupby(elements, key=lambda element: element[1:])]
    return tuple(ObsTerm(term, len(names), unit, frame, names=tuple(names)) for (term, unit, frame), names in runs)
