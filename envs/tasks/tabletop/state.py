"""What observations, scoring and the expert look at, beyond the state of every task at a table."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..manipulation.state import TableState


@dataclass
class PlateState(TableState):
    """n worlds with 2 objects and 2 receptacles, those of the instruction first; m, rad, world frame."""

    base_pos: Tensor  # (n, 2, 3) middle of the receptacles' floors
    base_half: Tensor  # (n, 2) half width that counts as on it
    rest: Tensor  # (n,) height of the object's centre on its receptacle
    grasp: Tensor  # (n,) where the object is taken, above its centre
    symmetry: Tensor  # (n,) turn after which the object looks the same from above; 0: any
    present: Tensor  # (n, 4) 1 where there is an object, object, receptacle, receptacle
    holding: Tensor  # (n, 2) 1 where both fingers touch the object
    ever_held: Tensor  # (n, 2)
    firmly: Tensor  # (n,) 1 once it was held for some time
    placed: Tensor  # (n,) 1 while the object is on its receptacle


FIELDS = tuple(PlateState.__annotations__)
"""What is added to a TableState, by the names of the environment's buffers."""
