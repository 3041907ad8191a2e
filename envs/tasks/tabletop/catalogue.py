"""What lies on the table: objects (shape, colour, size) and receptacles (kind, colour), and which pairs are held out.

Everything is made of MuJoCo's primitives. Lengths in m, in the frame of the thing: z up, origin in the middle of an
object, on the table under a receptacle. Every object is narrow enough along its y axis for the fingers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

COLOURS = {
    "red": (0.80, 0.10, 0.10),
    "green": (0.10, 0.55, 0.16),
    "blue": (0.10, 0.25, 0.80),
    "yellow": (0.95, 0.82, 0.10),
    "orange": (0.95, 0.45, 0.05),
    "purple": (0.48, 0.14, 0.62),
    "cyan": (0.15, 0.75, 0.80),
    "black": (0.07, 0.07, 0.08),
}
"""Name -> RGB in [0, 1]."""


@dataclass(frozen=True)
class Part:
    """One primitive: kind and sizes as MuJoCo takes them, centre, yaw about z [rad], shade of the thing's colour."""

    kind: str
    size: tuple[float, float, float]
    pos: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    shade: float = 1.0


@dataclass(frozen=True)
class Thing:
    """An object or a receptacle.

    half: of an object its half height, of a receptacle the half width that counts as "on it" [m].
    top: height of the surface that an object stands on [m]; of receptacles.
    symmetry: rad after which the shape looks the same from above; 0: always.
    grasp: m above its centre where an object is best taken.  round: it rolls.
    """

    parts: tuple[Part, ...]
    half: float
    top: float = 0.0
    symmetry: float = 0.0
    grasp: float = 0.0
    round: bool = False


_QUARTER = 1.5707963267948966
_EIGHTH = _QUARTER / 2


def _bowl() -> tuple[Part, ...]:
    """A disc and eight boards around it."""
    directions = ((1, 0), (0.70710678, 0.70710678), (0, 1), (-0.70710678, 0.70710678))
    both = [(s * x, s * y, i) for s in (1, -1) for i, (x, y) in enumerate(directions)]
    walls = [Part("box", (0.005, 0.026, 0.012), (0.060 * x, 0.060 * y, 0.012), i * _EIGHTH, 0.8) for x, y, i in both]
    return (Part("cylinder", (0.060, 0.003, 0), (0, 0, 0.003)), *walls)


def _tray() -> tuple[Part, ...]:
    """A board with a low wall on each side."""
    long = [Part("box", (0.066, 0.004, 0.008), (0, s * 0.066, 0.008), shade=0.75) for s in (1, -1)]
    short = [Part("box", (0.004, 0.066, 0.008), (s * 0.066, 0, 0.008), shade=0.75) for s in (1, -1)]
    return (Part("box", (0.066, 0.066, 0.003), (0, 0, 0.003)), *long, *short)


OBJECTS = {
    "cube": Thing((Part("box", (0.020, 0.020, 0.020)),), half=0.020, symmetry=_QUARTER),
    "can": Thing((Part("cylinder", (0.019, 0.024, 0)),), half=0.024),
    "ball": Thing((Part("sphere", (0.022, 0, 0)),), half=0.022, round=True),
    "brick": Thing((Part("box", (0.040, 0.016, 0.016)),), half=0.016, symmetry=2 * _QUARTER),
    "dumbbell": Thing(
        (
            Part("box", (0.030, 0.010, 0.010), shade=0.7),
            Part("box", (0.010, 0.020, 0.020), (0.032, 0, 0)),
            Part("box", (0.010, 0.020, 0.020), (-0.032, 0, 0)),
        ),
        half=0.020,
        symmetry=2 * _QUARTER,
    ),
    "tower": Thing(
        (
            Part("box", (0.022, 0.020, 0.012), (0, 0, -0.014)),
            Part("box", (0.011, 0.011, 0.014), (0, 0, 0.012), shade=0.6),
        ),
        half=0.026,
        grasp=-0.008,
        symmetry=2 * _QUARTER,
    ),
}
RECEPTACLES = {
    "plate": Thing(
        (
            Part("cylinder", (0.070, 0.002, 0), (0, 0, 0.002), shade=0.7),
            Part("cylinder", (0.055, 0.003, 0), (0, 0, 0.003)),
        ),
        half=0.070,
        top=0.006,
    ),
    "bowl": Thing(_bowl(), half=0.060, top=0.006),
    "tray": Thing(_tray(), half=0.066, top=0.006),
    "board": Thing((Part("box", (0.075, 0.050, 0.006), (0, 0, 0.006)),), half=0.060, top=0.012),
}
SCALES = (0.9, 1.0, 1.1)
"""Sizes of an object, relative to the above; they have no name."""

Pair = tuple[str, str]
"""Colour and shape, or colour and kind."""


def _split(names: dict[str, Thing], shift: int) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Seen and held-out pairs: of every four colours each shape lacks one, so that every word is seen."""
    pairs = [
        ((colour, name), (i + j + shift) % 4)
        for (i, colour), (j, name) in product(enumerate(COLOURS), enumerate(names))
    ]
    return tuple(p for p, rest in pairs if rest), tuple(p for p, rest in pairs if not rest)


SEEN_OBJECTS, UNSEEN_OBJECTS = _split(OBJECTS, 0)
SEEN_RECEPTACLES, UNSEEN_RECEPTACLES = _split(RECEPTACLES, 2)


def words(pair: Pair) -> str:
    """``red cube``."""
    return " ".join(pair)
