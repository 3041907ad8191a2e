"""An episode as a pure function of its row and its number: what lies where, what is said, how it looks.

Positions [m] and yaws [rad] are in the world's frame, rounded to 1e-6. There is an episode for every number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .catalogue import (
    OBJECTS,
    SCALES,
    SEEN_OBJECTS,
    SEEN_RECEPTACLES,
    UNSEEN_OBJECTS,
    UNSEEN_RECEPTACLES,
    Pair,
    words,
)
from .instructions import SEEN, UNSEEN, instruction
from .rows import NUMBER, ROWS, Row
from .stream import Stream
from .textures import OVERLAYS, SEEN_TABLES, UNSEEN_TABLES

CENTRE = (0.50, 0.0)
HALF = (0.10, 0.15)
"""Half the sides of the rectangle, around CENTRE, in which things start in training."""
RING = 0.05
"""How far around it they start in the row ``unseen_positions``."""
CLEAR = 0.125  # object to receptacle
APART = 0.085  # object to object, in training; the fingers need the room
FAR = 0.15  # a distractor in the rows that have one, and a reposition
PLATES_APART = 0.165  # receptacle to receptacle: two of them do not touch
YAW = 0.7853981633974483
"""Training draws yaws of U(-YAW, YAW); ``unseen_positions`` those of YAW to 2 YAW, on either side."""
JOINT_NOISE = 0.02
OFFSETS = ((0.0, 0.08, -0.08, 0.15, -0.15),) * 5 + ((0.0, 0.3, -0.3, 0.6, -0.6), (0.0,))
"""Of the joints in the row ``unseen_robot_pose``; at least one is not 0."""
REPOSITION_STEP = 5
TRIES = 30
"""Places to jump to that are tried before everything is put elsewhere."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """A thing on the table: its pair of words, position, yaw; scale of an object."""

    pair: Pair
    at: Point
    yaw: float
    scale: float = 1.0


@dataclass(frozen=True)
class Episode:
    """objects, receptacles: one or two of each, that of the instruction first.  joints: offsets of the arm [rad].

    moved_to: where the object jumps to, or None.  table: index of the table's picture.  overlay: index of the texture
    that is blended onto the image, or None.  key: what makes that texture move.
    """

    row: str
    number: int
    objects: tuple[Placed, ...]
    receptacles: tuple[Placed, ...]
    text: str
    joints: tuple[float, ...]
    moved_to: Point | None
    table: int
    overlay: int | None
    key: int


def episode(row: str, number: int) -> Episode:
    """The episode of a row, number in 0 ... 2^63 - 1."""
    rule, draw = ROWS[row], Stream(NUMBER[row], number)
    table = draw.choice(SEEN_TABLES if rule.tables == "seen" else UNSEEN_TABLES)
    overlay = draw.below(OVERLAYS)
    template = draw.choice(SEEN if rule.templates == "seen" else UNSEEN)
    objects = _two(draw, SEEN_OBJECTS if rule.things == "seen" else UNSEEN_OBJECTS)
    receptacles = _two(draw, SEEN_RECEPTACLES if rule.receptacles == "seen" else UNSEEN_RECEPTACLES)
    both_objects = draw.below(4) < rule.second
    joints = _joints(draw, rule)
    things = objects[: 1 + both_objects]
    bases = receptacles[: 1 + rule.second_receptacle]
    spots, moved_to = _places(draw, rule, len(things), len(bases))
    placed = tuple(
        Placed(pair, at, _yaw(draw, rule), draw.choice(SCALES)) for pair, at in zip(things, spots, strict=False)
    )
    return Episode(
        row=row,
        number=number,
        objects=placed,
        receptacles=tuple(
            Placed(pair, at, _yaw(draw, rule)) for pair, at in zip(bases, spots[len(things) :], strict=True)
        ),
        text=instruction(template, words(things[0]), words(bases[0])),
        joints=joints,
        moved_to=moved_to,
        table=table,
        overlay=overlay if rule.overlay else None,
        key=draw.word(),
    )


def _two(draw: Stream, pairs: tuple[Pair, ...]) -> tuple[Pair, Pair]:
    """Two different pairs."""
    first = draw.below(len(pairs))
    second = (first + 1 + draw.below(len(pairs) - 1)) % len(pairs)
    return pairs[first], pairs[second]


def _joints(draw: Stream, rule: Row) -> tuple[float, ...]:
    noise = [draw.uniform(-JOINT_NOISE, JOINT_NOISE) for _ in OFFSETS]
    if not rule.joints:
        return tuple(noise)
    offsets = [0.0] * len(OFFSETS)
    while not any(offsets):
        offsets = [draw.choice(options) for options in OFFSETS]
    return tuple(round(a + b, 6) for a, b in zip(noise, offsets, strict=True))


def _yaw(draw: Stream, rule: Row) -> float:
    turn, side = draw.uniform(0.0, YAW), draw.choice((1.0, -1.0))
    return side * (round(turn + YAW, 6) if rule.ring else turn)


def _places(draw: Stream, rule: Row, objects: int, receptacles: int) -> tuple[list[Point], Point | None]:
    """Where things start, and where the object jumps to; both anew where there is no place left to jump to."""
    while True:
        spots = _spots(draw, rule, objects, receptacles)
        moved_to = _elsewhere(draw, spots, objects) if rule.reposition else None
        if moved_to is not None or not rule.reposition:
            return spots, moved_to


def _spots(draw: Stream, rule: Row, objects: int, receptacles: int) -> list[Point]:
    """Objects, then receptacles, far enough from each other; all of them anew until they are."""
    while True:
        spots = [_point(draw, rule.ring) for _ in range(objects + receptacles)]
        if all(
            _distance(a, b) >= _gap(rule, i < objects, j < objects)
            for j, b in enumerate(spots)
            for i, a in enumerate(spots[:j])
        ):
            return spots


def _gap(rule: Row, first_is_object: bool, second_is_object: bool) -> float:
    if first_is_object and second_is_object:
        return FAR if rule.second == 4 else APART
    return CLEAR if first_is_object or second_is_object else PLATES_APART


def _point(draw: Stream, ring: bool) -> Point:
    """In the training rectangle, or in the ring around it."""
    while True:
        wide = RING if ring else 0.0
        x, y = (draw.uniform(-half - wide, half + wide) for half in HALF)
        if not ring or abs(x) > HALF[0] or abs(y) > HALF[1]:
            return round(CENTRE[0] + x, 6), round(CENTRE[1] + y, 6)


def _elsewhere(draw: Stream, spots: list[Point], objects: int) -> Point | None:
    """A place in the rectangle, FAR from where the first object is, and clear of everything else; None: not found."""
    for _ in range(TRIES):
        at = _point(draw, ring=False)
        clear = [_distance(at, other) >= (APART if i < objects else CLEAR) for i, other in enumerate(spots)]
        if _distance(at, spots[0]) >= FAR and all(clear[1:]):
            return at
    return None


def _distance(a: Point, b: Point) -> float:
    x, y = a[0] - b[0], a[1] - b[1]
    return math.sqrt(x * x + y * y)  # rounded correctly everywhere, unlike powers


def height(placed: Placed) -> float:
    """Of the middle of an object that stands on the table [m]."""
    return round(OBJECTS[placed.pair[1]].half * placed.scale, 6)
