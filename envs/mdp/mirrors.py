"""How a left-right reflection acts on what has one entry a leg, and on the gait's clock."""

from __future__ import annotations

import torch
from torch import Tensor

from embodied.types import Mirror


def leg_mirror(legs: tuple[str, ...]) -> Mirror:
    """Left and right change places: names with L or R as their second letter, as FR and FL_hip; others stay."""
    swap = {"L": "R", "R": "L"}
    images = [leg[0] + swap.get(leg[1], leg[1]) + leg[2:] if len(leg) > 1 else leg for leg in legs]
    index = tuple(legs.index(image if image in legs else leg) for leg, image in zip(legs, images, strict=True))
    return Mirror(index, (1.0,) * len(legs))


def gait_mirror(offsets: Tensor, legs: tuple[str, ...]) -> Mirror | None:
    """Reflection of the (sin, cos) of the gait's clock, offsets (L,) in cycles; None for a gait that has none.

    In a trot, a pace or a walk, left and right are half a cycle apart; in a bound they move together.
    """
    apart = (offsets - leg_mirror(legs)(offsets)).remainder(1.0)
    if bool(torch.allclose(apart, torch.full_like(apart, 0.5), atol=1e-4)):
        return Mirror((0, 1), (-1.0, -1.0))
    together = torch.minimum(apart, 1.0 - apart)
    return Mirror((0, 1), (1.0, 1.0)) if float(together.max()) < 1e-4 else None
