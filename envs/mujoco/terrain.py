"""Ground for legged robots: flat, or a generated field of tiles whose difficulty a curriculum raises.

The field has ``levels`` rows (difficulty along +x) and one column of tiles per kind (along +y), every tile
``tile_size`` metres square with a flat start in its middle, as in Rudin et al. 2021 (arXiv 2109.11978, section 3.1).
Heights are read from the same triangles that the simulator collides with, on either engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

EDGE = 0.5
"""Metres from the end of the field at which a world counts as outside."""
COVERED = 0.8
"""Share of the distance it was asked to cover that takes a world to the next level."""


@dataclass(frozen=True)
class TerrainConfig:
    """Shape of the field, lengths in metres.

    kinds: tile kinds by column; see :data:`TILES`.  max_slope: degrees, at the last level.  max_step: height of a
    stair's step and of obstacles, at the last level.  max_roughness: half-range of random heights, at the last level.
    start_level: highest level at which a world starts training.  border: flat ground around the field; a world that
    comes within ``EDGE`` of its end is truncated.
    """

    kinds: tuple[str, ...] = ("slope_up", "slope_down", "rough", "stairs_up", "stairs_down", "obstacles")
    levels: int = 10
    tile_size: float = 8.0
    resolution: float = 0.05
    platform: float = 1.5
    border: float = 4.0
    step_width: float = 0.35
    max_slope: float = 20.0
    max_step: float = 0.10
    max_roughness: float = 0.05
    start_level: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in TILES]
        if unknown or not self.kinds:
            raise ValueError(f"unknown terrain kinds {unknown}; choose from {', '.join(TILES)}")
        if self.levels < 1 or not 0 <= self.start_level < self.levels:
            raise ValueError(f"start_level {self.start_level} must be below levels {self.levels}, both non-negative")


def _ring_distance(size: int) -> np.ndarray:
    """Chebyshev distance [cells] of each cell of a square tile to its centre."""
    axis = np.abs(np.arange(size) - (size - 1) / 2)
    return np.maximum(axis[:, None], axis[None, :])


def _beyond_platform(size: int, c: TerrainConfig) -> np.ndarray:
    """Distance [m] outside the flat start."""
    return np.maximum(_ring_distance(size) * c.resolution - c.platform / 2, 0.0)


# Tiles end at height zero on all sides, since other kinds lie beside them: what rises outwards starts in a pit.


def _slope(sign: float) -> Callable[..., np.ndarray]:
    def tile(size: int, difficulty: float, c: TerrainConfig, rng: np.random.Generator) -> np.ndarray:
        away = _beyond_platform(size, c)
        return sign * math.tan(math.radians(c.max_slope * difficulty)) * (away - away.max())

    return tile


def _stairs(sign: float) -> Callable[..., np.ndarray]:
    def tile(size: int, difficulty: float, c: TerrainConfig, rng: np.random.Generator) -> np.ndarray:
        steps = np.ceil(_beyond_platform(size, c) / c.step_width)
        return sign * c.max_step * difficulty * (steps - steps.max())

    return tile


def _rough(size: int, difficulty: float, c: TerrainConfig, rng: np.random.Generator) -> np.ndarray:
    coarse = max(round(0.2 / c.resolution), 1)
    cells = rng.uniform(-1, 1, (size // coarse + 2, size // coarse + 2)) * c.max_roughness * difficulty
    axis = np.arange(size) / coarse
    low, part = axis.astype(int), axis % 1
    rows = cells[low] * (1 - part)[:, None] + cells[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _obstacles(size: int, difficulty: float, c: TerrainConfig, rng: np.random.Generator) -> np.ndarray:
    heights = np.zeros((size, size))
    for _ in range(40):
        sides = (rng.uniform(0.3, 1.2, 2) / c.resolution).astype(int)
        row, column = rng.integers(0, size - sides[0]), rng.integers(0, size - sides[1])
        heights[row : row + sides[0], column : column + sides[1]] = rng.choice([-1, 1]) * c.max_step * difficulty
    return np.where(_beyond_platform(size, c) > 0, heights, 0.0)


def _flat(size: int, difficulty: float, c: TerrainConfig, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((size, size))


TILES: dict[str, Callable[..., np.ndarray]] = {
    "flat": _flat,
    "slope_up": _slope(1.0),
    "slope_down": _slope(-1.0),
    "rough": _rough,
    "stairs_up": _stairs(1.0),
    "stairs_down": _stairs(-1.0),
    "obstacles": _obstacles,
}
"""kind -> function(size [cells], difficulty in (0, 1], config, rng) -> heights (size, size) [m]."""


def generate(c: TerrainConfig) -> np.ndarray:
    """Heights (rows along y, columns along x) [m] of the whole field, border included, centred on the origin."""
    rng = np.random.default_rng(c.seed)
    size, edge = round(c.tile_size / c.resolution), round(c.border / c.resolution)
    field = np.zeros((len(c.kinds) * size + 2 * edge + 1, c.levels * size + 2 * edge + 1))
    for column, kind in enumerate(c.kinds):
        for level in range(c.levels):
            y, x = edge + column * size, edge + level * size
            field[y : y + size, x : x + size] = TILES[kind](size, (level + 1) / c.levels, c, rng)
    return field


class Ground:
    """Flat ground: height zero everywhere, every world starts at the origin.

    curriculum: worlds change their level at a reset.
    """

    curriculum = False

    def restart(self, seed: int) -> None:
        """Draw the levels anew, as a fresh ground of this seed does."""

    def outside(self, xy: Tensor) -> Tensor | None:
        """(n,) bool, where points (n, 2) are about to leave the ground; None: it has no end."""
        return None

    def height(self, xy: Tensor) -> Tensor:
        """Height [m] of the ground below points (..., 2) in the world frame."""
        return torch.zeros(xy.shape[:-1], dtype=xy.dtype, device=xy.device)

    def origin(self, worlds: Tensor) -> Tensor:
        """Where these worlds start, (n, 3) m."""
        return torch.zeros(len(worlds), 3, device=worlds.device)

    def update_levels(
        self, worlds: Tensor, distance: Tensor, asked: Tensor, fell: Tensor, generator: torch.Generator
    ) -> None:
        """Move these worlds up or down the curriculum; see :class:`TiledGround`."""

    @property
    def metrics(self) -> dict[str, Tensor]:
        """Figures of the curriculum, each (N,)."""
        return {}

    def split(self, name: str, figure: Tensor) -> dict[str, Tensor]:
        """In evaluation: a figure (N,) by kind and by level of the tiles, NaN in the worlds of all others."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Curriculum counters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""


class TiledGround(Ground):
    """The generated field. Each world has a kind (fixed) and a level that follows how far it walks.

    A world that covers what it was asked to goes one level up: ``COVERED`` of that distance, but at least a quarter of
    a tile, which is beyond the flat start, and at most half of one. (Half a tile alone, as in Rudin et al., suits
    commands of a heading: a commanded yaw rate leads in circles, and few episodes so far away.) One that falls, or
    covers less than half of what it was asked to, goes one down; beyond the last level it is placed at a random one,
    so that easy ground is not forgotten. For evaluation, levels stay, and the worlds go through all tiles in turn.
    """

    def __init__(
        self, config: TerrainConfig, num_worlds: int, device: torch.device, generator: torch.Generator, evaluate: bool
    ) -> None:
        self.config = config
        self.heights = generate(config)
        self._grid = torch.from_numpy(self.heights).float().to(device)
        self.curriculum = not evaluate
        world, kinds = torch.arange(num_worlds, device=device), len(config.kinds)
        self.kind = world % kinds
        self.level = world // kinds % config.levels
        if self.curriculum:
            self._draw_levels(generator)

    def _draw_levels(self, generator: torch.Generator) -> None:
        self.level.random_(0, self.config.start_level + 1, generator=generator)

    def restart(self, seed: int) -> None:
        if self.curriculum:
            self._draw_levels(torch.Generator(self.level.device).manual_seed(seed))

    @property
    def size(self) -> tuple[float, float]:
        """Extent along x and y [m]."""
        rows, columns = self.heights.shape
        return (columns - 1) * self.config.resolution, (rows - 1) * self.config.resolution

    def outside(self, xy: Tensor) -> Tensor | None:
        size_x, size_y = self.size
        return (xy[:, 0].abs() > size_x / 2 - EDGE) | (xy[:, 1].abs() > size_y / 2 - EDGE)

    def height(self, xy: Tensor) -> Tensor:
        size_x, size_y = self.size
        rows, columns = self._grid.shape
        # A broken world's NaN must not become an index: on CUDA that ends the process.
        x = ((xy[..., 0] + size_x / 2) / self.config.resolution).nan_to_num(0.0).clamp(0, columns - 1.001)
        y = ((xy[..., 1] + size_y / 2) / self.config.resolution).nan_to_num(0.0).clamp(0, rows - 1.001)
        column, row = x.long(), y.long()
        u, v = x - column, y - row
        flat, at = self._grid.reshape(-1), row * columns + column
        low, high = flat[at], flat[at + columns + 1]
        # MuJoCo cuts every cell into two triangles along the diagonal from low to high.
        corner = torch.where(v > u, flat[at + columns], flat[at + 1])
        far, near = torch.maximum(u, v), torch.minimum(u, v)
        return low + far * (corner - low) + near * (high - corner)

    def origin(self, worlds: Tensor) -> Tensor:
        c = self.config
        x = (self.level[worlds] + 0.5 - c.levels / 2) * c.tile_size
        y = (self.kind[worlds] + 0.5 - len(c.kinds) / 2) * c.tile_size
        return torch.stack([x, y, self.height(torch.stack([x, y], -1))], -1)

    def update_levels(
        self, worlds: Tensor, distance: Tensor, asked: Tensor, fell: Tensor, generator: torch.Generator
    ) -> None:
        """Change the levels of n worlds; not for evaluation.

        distance, asked: (n,) m from the start as the crow flies: where the world came to, and where following the
        command would have led.  fell: (n,) bool.
        """
        if not self.curriculum:
            return
        tile = self.config.tile_size
        covered = distance > (COVERED * asked).clamp(tile / 4, tile / 2)
        up = covered & ~fell
        down = (distance < 0.5 * asked) & ~covered | fell
        level = self.level[worlds] + up.long() - down.long()
        anywhere = torch.randint(0, self.config.levels, level.shape, generator=generator, device=level.device)
        self.level[worlds] = torch.where(level >= self.config.levels, anywhere, level.clamp_min(0))

    @property
    def metrics(self) -> dict[str, Tensor]:
        names = {f"terrain_level/{kind}": self._of_kind(i) for i, kind in enumerate(self.config.kinds)}
        return {"terrain_level": self.level.float(), **names}

    def _of_kind(self, kind: int) -> Tensor:
        """The level where the world's kind is this one, else NaN, which means «not applicable»."""
        return torch.where(self.kind == kind, self.level.float(), torch.nan)

    def split(self, name: str, figure: Tensor) -> dict[str, Tensor]:
        if self.curriculum:
            return {}
        tiles = {kind: self.kind == i for i, kind in enumerate(self.config.kinds)}
        tiles |= {f"level_{level}": self.level == level for level in range(self.config.levels)}
        top = self.level == self.config.levels - 1
        tiles |= {f"{kind}/top": tiles[kind] & top for kind in self.config.kinds}
        return {f"{tile}/{name}": torch.where(chosen, figure, torch.nan) for tile, chosen in tiles.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.level.copy_(state["level"])
