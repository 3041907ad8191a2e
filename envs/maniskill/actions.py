"""What ManiSkill's controllers do with an action: the :class:`ActionSpec` of a robot in a control mode.

Policies act in [-1, 1]. Most controllers take that themselves and scale it; of the others the space is scaled here.
``command`` is in the controller's own units: rad or m of a joint or of the hand, or what the task defines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embodied.types import ActionSpec

POSE = ("dx", "dy", "dz", "droll", "dpitch", "dyaw")


def action_spec(env: Any) -> ActionSpec:
    """Of the robot of a ManiSkill environment whose actions are one vector.

    Raises:
        ValueError: the controller takes no bounded vector.
    """
    parts = [_elements(*item) for item in _controllers(env.agent)]
    names, low, high = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not np.isfinite([low, high]).all():
        raise ValueError(f"task.control_mode={env.control_mode!r} has no limits; choose another")
    return ActionSpec(
        names=tuple(names.tolist()),
        unit="m, rad",
        kind=_mode(env.control_mode),
        offset=tuple(((high + low) / 2).tolist()),
        scale=tuple(((high - low) / 2).tolist()),
        low=-1.0,
        high=1.0,
        command_low=tuple(np.minimum(low, high).tolist()),
        command_high=tuple(np.maximum(low, high).tolist()),
    )


def sent(env: Any, spec: ActionSpec) -> tuple[np.ndarray, np.ndarray]:
    """(offset (A,), scale (A,)) that turn a policy's action into what the environment takes: controllers that scale
    for themselves get it as it is."""
    scaled = np.concatenate([_normalized(controller) for *_, controller in _controllers(env.agent)])
    return np.where(scaled, 0.0, spec.offset), np.where(scaled, 1.0, spec.scale)


def _mode(mode: Any) -> str:
    """Of the first robot, where there are several."""
    return mode if isinstance(mode, str) else str(next(iter(mode.values())))


def _controllers(agent: Any, prefix: str = "") -> list[tuple[str, str, Any]]:
    """(prefix of names, part of the body, its controller) in the order of the action, robot after robot."""
    if hasattr(agent, "agents_dict"):
        return [found for uid, one in agent.agents_dict.items() for found in _controllers(one, f"{uid}_")]
    controller = agent.controller
    parts = controller.controllers if hasattr(controller, "controllers") else {"": controller}
    return [(prefix, name, part) for name, part in parts.items()]


def _normalized(controller: Any) -> np.ndarray:
    size = controller.single_action_space.shape[0]
    return np.full(size, bool(getattr(controller, "_normalize_action", False)))


def _elements(prefix: str, part: str, controller: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, and the commands at -1 and at 1."""
    space = getattr(controller, "_original_single_action_space", controller.single_action_space)
    low, high = space.low.astype(float).copy(), space.high.astype(float).copy()
    size, joints = len(low), [joint.name for joint in controller.joints]
    if hasattr(controller.config, "ee_link"):
        names = list(POSE[:size])
        if size == len(POSE) and _normalized(controller).all():  # it multiplies rotations by the lower limit
            low[3:], high[3:] = -space.low[3:], space.low[3:]
    else:
        names = joints[:size] if len(joints) >= size else [f"{part}_{i}" for i in range(size)]
    return [prefix + name for name in names], low, high
