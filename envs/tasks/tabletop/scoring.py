"""Success, reward and what went wrong, as pure functions.

Success: the named object touches the named receptacle, its centre is within the receptacle's half width + 1 cm of the
receptacle's, and no more than 5 cm above or below where it would stand (RL4VLA, Liu et al. 2025, appendix).
Legend: n worlds; 2 objects and 2 receptacles, those of the instruction first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN, STEP = 0.01, 0.05  # m
LONG = 5
"""Control steps in a row that count as holding firmly."""
FAILURES = ("never_grasped", "wrong_object", "wrong_place", "dropped", "timeout")


def on_target(object_pos: Tensor, base_pos: Tensor, base_half: Tensor, rest: Tensor, touches: Tensor) -> Tensor:
    """(n,) bool: success. object_pos, base_pos: (n, 3).  base_half, rest: (n,) half width, height of the object's
    centre when it stands there [m].  touches: (n,) bool."""
    level = (object_pos[:, :2] - base_pos[:, :2]).norm(dim=-1)
    return touches & (level <= base_half + MARGIN) & ((object_pos[:, 2] - rest).abs() <= STEP)


def potential(grasped: Tensor, firmly: Tensor, placed: Tensor) -> Tensor:
    """(n,) from bools (n,): the object was ever held; it was held LONG steps in a row; it is on its target now.

    What was once held stays so: if holding now counted, a policy would keep the object in its hand.
    """
    grasped = grasped.float()
    return 0.1 * grasped + 0.1 * firmly.float() + grasped * placed.float()


@dataclass
class Story:
    """What happened to n episodes so far.

    placed: (n,) bool, success now.  held: (n, 2) bool, now.  ever_held: (n, 2) bool.  misplaced: (n,) bool, the object
    touches the other receptacle.  let_go: (n,) bool, the last time that the object was lost, the fingers were open.
    """

    placed: Tensor
    held: Tensor
    ever_held: Tensor
    misplaced: Tensor
    let_go: Tensor


def failure(s: Story) -> dict[str, Tensor]:
    """Each of FAILURES as (n,) of 0 and 1: all 0 after success, else exactly one is 1.

    never_grasped: no object was held.  wrong_object: only the other one was.  timeout: it is still in the hand.
    wrong_place: it was put somewhere else.  dropped: it slipped out of closed fingers.
    """
    left, found = ~s.placed, {}
    tests = {
        "never_grasped": ~s.ever_held.any(-1),
        "wrong_object": ~s.ever_held[:, 0],
        "timeout": s.held[:, 0],
        "wrong_place": s.misplaced | s.let_go,
        "dropped": torch.ones_like(left),
    }
    for name, test in tests.items():
        found[name] = (left & test).float()
        left = left & ~test
    return {name: found[name] for name in FAILURES}
