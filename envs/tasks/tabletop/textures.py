"""Procedural pictures: table tops of seen and held-out families, and textures to blend onto images.

A picture is (size, size, 3) uint8, a function of its index alone: numpy's Philox and OpenCV, no files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

SIZE = 256
Picture = np.ndarray

_PALETTES = (
    ((222, 198, 160), (178, 140, 98)),
    ((196, 200, 204), (150, 156, 164)),
    ((168, 182, 158), (120, 140, 116)),
    ((190, 150, 130), (140, 100, 86)),
)
_UNSEEN_PALETTES = (((232, 214, 220), (176, 120, 150)), ((120, 150, 180), (214, 208, 180)))


def _noise(rng: np.random.Generator, cells: int, stretch: int = 1) -> np.ndarray:
    """Smooth noise in [0, 1], (SIZE, SIZE), with so many cells a side; ``stretch`` makes them longer."""
    grid = rng.random((cells, max(2, cells // stretch)), dtype=np.float32)
    return np.clip(cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0, 1)


def _blend(share: np.ndarray, colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Picture:
    first, second = (np.array(colour, np.float32) for colour in colours)
    return (first + share[..., None] * (second - first)).round().clip(0, 255).astype(np.uint8)


def plain(rng: np.random.Generator) -> np.ndarray:
    """Nearly one colour."""
    return 0.25 * _noise(rng, 8)


def wood(rng: np.random.Generator) -> np.ndarray:
    """Long fibres."""
    return 0.55 * _noise(rng, 96, 24) + 0.35 * _noise(rng, 24, 8)


def marble(rng: np.random.Generator) -> np.ndarray:
    """Veins."""
    fold = np.abs(_noise(rng, 5) + 0.5 * _noise(rng, 12) - 0.75)
    return np.exp(-18 * fold).astype(np.float32)


def granite(rng: np.random.Generator) -> np.ndarray:
    """Grains."""
    return (_noise(rng, 128) > 0.62).astype(np.float32) * 0.7 + 0.2 * _noise(rng, 32)


def checker(rng: np.random.Generator) -> np.ndarray:
    """Squares."""
    cells = int(rng.integers(6, 10))
    at = np.arange(SIZE) * cells // SIZE
    return ((at[:, None] + at[None]) % 2).astype(np.float32)


def stripes(rng: np.random.Generator) -> np.ndarray:
    """Slanted bands."""
    at = np.arange(SIZE)
    period = int(rng.integers(20, 36))
    return ((at[:, None] + at[None]) % period < period // 2).astype(np.float32)


def dots(rng: np.random.Generator) -> np.ndarray:
    """Discs on a grid."""
    period = int(rng.integers(28, 40))
    at = np.arange(SIZE) % period - period // 2
    return (at[:, None] ** 2 + at[None] ** 2 < (period // 3) ** 2).astype(np.float32)


_SEEN: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (plain, wood, marble, granite)
_UNSEEN: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (checker, stripes, dots)
SEEN_TABLES = tuple(range(len(_SEEN) * len(_PALETTES)))
UNSEEN_TABLES = tuple(range(len(SEEN_TABLES), len(SEEN_TABLES) + len(_UNSEEN) * len(_UNSEEN_PALETTES)))
OVERLAYS = 16


def _rng(kind: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([1000 + kind, index], dtype=np.uint64)))


def table(index: int) -> Picture:
    """A table top: seen families x 4 palettes, then held-out families x 2 palettes of their own."""
    rng, seen = _rng(0, index), index in SEEN_TABLES
    families, palettes = (_SEEN, _PALETTES) if seen else (_UNSEEN, _UNSEEN_PALETTES)
    number = index if seen else index - len(SEEN_TABLES)
    share = families[number % len(families)](rng)
    return _blend(share, palettes[number // len(families)])


@cache
def overlay(index: int) -> Picture:
    """A texture to blend onto an image: coloured noise of one of four grains, or hard-edged patches of it."""
    rng = _rng(1, index)
    cells = (4, 8, 16, 32)[index % 4]
    picture = np.stack([_noise(rng, cells) for _ in range(3)], -1)
    if index >= OVERLAYS // 2:
        picture = np.floor(picture * 3) / 2
    return (picture * 255).round().clip(0, 255).astype(np.uint8)


def window(index: int, key: int, step: int, height: int, width: int) -> Picture:
    """The part of a texture that is seen at a control step: another one at every step, (height, width, 3)."""
    draw = np.random.Philox(key=np.array([key & ((1 << 64) - 1), step], dtype=np.uint64)).random_raw(2)
    side = SIZE // 2
    x, y = (int(word) % (SIZE - side) for word in draw)
    return cv2.resize(overlay(index)[y : y + side, x : x + side], (width, height), interpolation=cv2.INTER_LINEAR)
