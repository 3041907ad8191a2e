"""How demonstrations fit a task: what history it shows of them, and the normalisation of what it observes.

Observations go through the learner's own ``ObsNormalizer``, filled from the data once and pinned: its constants lie in
the checkpoint as those of any run, so evaluation and export use them, and a run of reinforcement learning that starts
from the checkpoint goes on with the inputs that the policy knows.

Legend: F frames; H action chunk; L observations of a history.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ..normalize import ObsNormalizer
from ..types import CRITIC_GROUP, TaskSpec
from .episodes import DatasetError, Episodes
from .scaling import Scale, scale_of

PINNED = 1e30
"""The count given to statistics that are not to move: against so many rows, what is seen later is rounded away."""


def histories(spec: TaskSpec, data: Episodes) -> dict[str, int]:
    """L of every group that the task shows with a history; data hold one observation a frame.

    Raises:
        DatasetError: the data do not fit the task; the message names everything that does not.
    """
    faults, found = [], {}
    for name, group in spec.obs.items():
        if name not in data.info.obs:
            if name != CRITIC_GROUP:  # what only the critic sees is not needed to learn actions
                faults.append(f"observation group {name!r} is missing")
            continue
        size, given = math.prod(group.shape), math.prod(data.info.obs[name].shape)
        if size % given and name == CRITIC_GROUP:
            continue
        if size % given:
            faults.append(f"observation group {name!r} has {given} elements, the task's {size}")
        elif size > given:
            found[name] = size // given
    names = data.info.action_names
    if len(names) != spec.action.size:
        faults.append(f"{len(names)} actions ({', '.join(names)}), the task has {spec.action.size}")
    if not math.isclose(data.info.control_dt, _frame_dt(spec, data), rel_tol=1e-3):
        faults.append(f"control period {data.info.control_dt:g} s, the task's is {spec.control_dt:g} s")
    if faults:
        raise DatasetError(f"demonstrations of {data.info.task!r} do not fit task {spec.name!r}: {'; '.join(faults)}")
    return found


def _frame_dt(spec: TaskSpec, data: Episodes) -> float:
    """Seconds between frames of a task whose ``control_dt`` is that of a decision, or of one of its H actions."""
    whole = spec.control_dt / spec.action.chunk
    return min(spec.control_dt, whole, key=lambda dt: abs(dt - data.info.control_dt))


def make_normalizer(spec: TaskSpec, data: Episodes, method: str) -> ObsNormalizer:
    """The task's normaliser with constants from data, pinned; groups that the data lack keep learning theirs.

    Where a task has a symmetry, a frame counts as itself and its mirror image, so that normalising commutes with it.
    """
    normalizer = ObsNormalizer.of(spec)
    for name, moments in normalizer.moments.items():
        if name not in data.obs:
            continue
        rows = data.obs[name].flatten(1)
        shape = spec.obs[name].shape
        rows = rows.repeat(1, math.prod(shape) // rows.shape[1]).unflatten(1, shape)
        if spec.symmetry is not None and name in spec.symmetry.obs:
            rows = torch.cat([rows, spec.symmetry.obs[name](rows)])
        pin(moments, scale_of(rows.flatten(1), method))
    return normalizer


def pin(moments: nn.Module, scale: Scale) -> None:
    """Have ``RunningMoments`` compute ``(x - centre) / width`` for good.

    It divides by sqrt(var + eps), which bounds the gain: a width below sqrt(eps) = .01 counts as that.
    """
    var = (scale.width.square() - cast(float, moments.eps)).clamp_min(0.0)
    like = cast(Tensor, moments.mean)
    state = {"mean": scale.centre.reshape(like.shape), "var": var.reshape(like.shape)}
    moments.load_state_dict(state | {"count": torch.tensor(PINNED, dtype=torch.float64)})
