"""Warp kernels of the warp engine; one thread a world, or a world and a number of it."""

# mypy: ignore-errors
# The annotations are Warp's: they describe arrays to its compiler and mean little to mypy.

from typing import Any

import warp as wp


@wp.kernel(enable_backward=False)
def keep_state(invalid: wp.array[bool], state: wp.array2d[Any], kept: wp.array2d[Any]):
    """The state before the step that made a world invalid stays kept."""
    world, i = wp.tid()
    if not invalid[world]:
        kept[world, i] = state[world, i]


@wp.kernel(enable_backward=False)
def find_invalid(
    limit: float,
    substeps: int,
    qpos: wp.array2d[float],
    qvel: wp.array2d[float],
    qacc: wp.array2d[float],
    act: wp.array2d[float],
    ctrl: wp.array2d[float],
    invalid: wp.array[bool],
    last_substeps: wp.array[int],
):
    world = wp.tid()
    if invalid[world]:
        return
    bad = bool(False)  # noqa: UP018, a variable to Warp, not a constant
    for i in range(qpos.shape[1]):
        bad = bad or not (wp.abs(qpos[world, i]) < limit)  # NaN compares false
    for i in range(qvel.shape[1]):
        bad = bad or not (wp.abs(qvel[world, i]) < limit) or not (wp.abs(qacc[world, i]) < limit)
    for i in range(act.shape[1]):
        bad = bad or not (wp.abs(act[world, i]) < limit)
    for i in range(ctrl.shape[1]):
        bad = bad or not (wp.abs(ctrl[world, i]) < limit)
    invalid[world] = bad
    last_substeps[world] = substeps
