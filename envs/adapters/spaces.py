"""Gymnasium spaces of one row, from a TaskSpec."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from embodied.configuration import nearest
from embodied.types import ObsGroup, TaskSpec


def observation_space(spec: TaskSpec, group: str | None) -> spaces.Space:
    """The Box of one group, or with None a Dict of all groups. ValueError for an unknown group names the known ones."""
    if group is None:
        return spaces.Dict({name: _box(item) for name, item in spec.obs.items()})
    if group not in spec.obs:
        raise ValueError(f"{spec.name} has no observation group {group!r}; {nearest(group, spec.obs)}")
    return _box(spec.obs[group])


def action_space(spec: TaskSpec, *, finite: bool = False) -> spaces.Box:
    """Box of one row's action in policy units: (A,), or (H, A) for a task that takes chunks of H > 1 actions.

    finite: where the spec has no limits, use what reaches the command limits. ValueError if there are none either.
    """
    action = spec.action
    if action.low is not None and action.high is not None:
        low, high = (np.full(action.size, limit, np.float32) for limit in (action.low, action.high))
    elif not finite:
        low, high = np.full(action.size, -np.inf, np.float32), np.full(action.size, np.inf, np.float32)
    else:
        low, high = _reachable(spec)
    if action.chunk > 1:
        low, high = np.tile(low, (action.chunk, 1)), np.tile(high, (action.chunk, 1))
    return spaces.Box(low, high, dtype=np.float32)


def _reachable(spec: TaskSpec) -> tuple[np.ndarray, np.ndarray]:
    """Policy units at which the command reaches its limits."""
    action = spec.action
    limits = np.array([action.command_low, action.command_high])
    if limits.shape != (2, action.size) or not np.isfinite(limits).all():
        raise ValueError(f"{spec.name}: the action is unbounded, and a finite action space is needed")
    scale = np.array(action.scale or (1.0,) * action.size)
    ends = (limits - np.array(action.offset or (0.0,) * action.size)) / scale
    return ends.min(0).astype(np.float32), ends.max(0).astype(np.float32)


def _box(group: ObsGroup) -> spaces.Box:
    dtype = np.dtype(group.dtype)
    if dtype == np.uint8:
        return spaces.Box(0, 255, group.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, group.shape, dtype.type)
