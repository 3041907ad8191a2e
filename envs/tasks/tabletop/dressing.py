"""What an episode sets in the model: which shapes the slots show, how large, in which colours, and where they stand.

Legend: V geoms of the slots, in the order of :func:`scene.parts`; S = 4 slot bodies, objects first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from .catalogue import COLOURS
from .episodes import Episode, Placed, height
from .scene import CAMERA, SLOTS, contact_bits, geom, parts, slot, table_material
from .textures import SEEN_TABLES, UNSEEN_TABLES

HIDDEN = (-1.0, 0.0, 1.0)
"""Where a slot that is not used floats [m]."""


@dataclass(frozen=True)
class Dressing:
    """size, pos: (V, 3).  rbound, contype, conaffinity: (V,), all bits 0 where not shown.  rgba: (V, 4), alpha 0 there.

    body_pos: (S, 3).  body_quat: (S, 4).  floating: (S,) 1 where a slot is not used.  table: index of the table top.
    """

    size: np.ndarray
    pos: np.ndarray
    rbound: np.ndarray
    contype: np.ndarray
    conaffinity: np.ndarray
    rgba: np.ndarray
    body_pos: np.ndarray
    body_quat: np.ndarray
    floating: np.ndarray
    table: int


_PARTS = parts()
_BODIES = [slot(kind, number) for kind in ("object", "receptacle") for number in range(SLOTS)]


def dress(ep: Episode) -> Dressing:
    """What this episode shows."""
    shown = _by_slot(ep)
    size, pos = (np.array([getattr(part, name) for *_, part in _PARTS]) for name in ("size", "pos"))
    rgba, bits = np.zeros((len(_PARTS), 4)), np.zeros((len(_PARTS), 2), int)
    for v, (body, name, _, part) in enumerate(_PARTS):
        placed = shown.get(body)
        if placed is not None and placed.pair[1] == name:
            size[v], pos[v] = placed.scale * size[v], placed.scale * pos[v]
            rgba[v] = *(part.shade * np.array(COLOURS[placed.pair[0]])), 1.0
            bits[v] = contact_bits(body)
    return Dressing(
        size=size,
        pos=pos,
        rbound=np.array([_radius(part.kind, s) for (*_, part), s in zip(_PARTS, size, strict=True)]),
        contype=bits[:, 0],
        conaffinity=bits[:, 1],
        rgba=rgba,
        body_pos=np.array([_position(body, shown) for body in _BODIES]),
        body_quat=np.array([_quat(shown[body].yaw if body in shown else 0.0) for body in _BODIES]),
        floating=np.array([float(body not in shown) for body in _BODIES]),
        table=ep.table,
    )


def _by_slot(ep: Episode) -> dict[str, Placed]:
    placed = {slot("object", i): thing for i, thing in enumerate(ep.objects)}
    return placed | {slot("receptacle", i): thing for i, thing in enumerate(ep.receptacles)}


def _position(body: str, shown: dict[str, Placed]) -> tuple[float, float, float]:
    if body not in shown:
        return HIDDEN
    return *shown[body].at, height(shown[body]) if body.startswith("object") else 0.0


def _quat(yaw: float) -> list[float]:
    """Rounded, because sines differ in the last bit between machines."""
    return [round(math.cos(yaw / 2), 6), 0.0, 0.0, round(math.sin(yaw / 2), 6)]


def _radius(kind: str, size: np.ndarray) -> float:
    """Of the ball around a geom's centre that holds it [m], as MuJoCo's compiler takes it."""
    squares = {"box": size[0] ** 2 + size[1] ** 2 + size[2] ** 2, "cylinder": size[0] ** 2 + size[1] ** 2}
    return math.sqrt(squares.get(kind, size[0] ** 2))


class Wardrobe:
    """Where the fields of a dressing are in a model, simulated or seen.

    geoms: (V,) ids.  bodies: (S,) ids.  objects: the ids of the objects' geoms are the first ``num_object_geoms``.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self.geoms = np.array([model.geom(geom(body, name, i)).id for body, name, i, _ in _PARTS])
        self.bodies = np.array([model.body(body).id for body in _BODIES])
        self.object_geoms = self.geoms[[body.startswith("object") for body, *_ in _PARTS]]


class VisualWardrobe(Wardrobe):
    """The same for the model that is seen, which it writes to."""

    def __init__(self, model: mujoco.MjModel) -> None:
        super().__init__(model)
        self._model, self._top = model, model.geom("table_top").id
        self._tables = [model.material(table_material(i)).id for i in (*SEEN_TABLES, *UNSEEN_TABLES)]
        self.camera = model.camera(CAMERA).id
        self._worn: Dressing | None = None

    def wear(self, dressing: Dressing) -> None:
        """Make the model look like this."""
        if dressing is self._worn:
            return
        model, self._worn = self._model, dressing
        model.geom_size[self.geoms], model.geom_pos[self.geoms] = dressing.size, dressing.pos
        model.geom_rgba[self.geoms], model.geom_rbound[self.geoms] = dressing.rgba, dressing.rbound
        model.body_pos[self.bodies[SLOTS:]] = dressing.body_pos[SLOTS:]
        model.body_quat[self.bodies[SLOTS:]] = dressing.body_quat[SLOTS:]
        model.geom_matid[self._top] = self._tables[dressing.table]
