"""What an environment remembers of N worlds: named columns of one matrix.

A world's reset is then one index operation instead of one a buffer, and so is reading a few worlds.

Memory is worlds last: shapes begin with N, but the numbers of one column lie side by side. Most of a step is arithmetic
on short columns (3 of a velocity, 12 of the joints); in this order each is a run over all worlds, which processors and
GPUs do at once, where rows of 12 are 12 steps each (measured at N = 1024: a sum over the joints takes a quarter).
Legend: N worlds; n of them; every buffer is (N, *shape).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def worlds_last(x: Tensor) -> Tensor:
    """A float32 copy of x (n, *shape), of the same shape and with worlds last in memory."""
    return torch.empty(*x.shape[1:], len(x), dtype=torch.float32, device=x.device).movedim(-1, 0).copy_(x)


def _shaped(columns: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Columns (n, size) as (n, *shape)."""
    if len(shape) == 1:
        return columns
    return columns.unflatten(-1, shape) if shape else columns[:, 0]


class Buffers(Mapping[str, Tensor]):
    """``buffers[name]`` is a live view (N, *shape) of the columns that belong to ``name``; zero at first.

    shapes: name -> shape of one world's value, () for a number.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        num_worlds: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shapes = dict(shapes)
        width = sum(math.prod(shape) for shape in self.shapes.values())
        self.matrix = torch.zeros(width, num_worlds, dtype=dtype, device=device).t()
        self._views = self._name(self.matrix)

    def _name(self, matrix: Tensor) -> dict[str, Tensor]:
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        columns = matrix.split(sizes, dim=-1)
        return {name: _shaped(part, shape) for (name, shape), part in self._pairs(columns)}

    def _pairs(self, columns: tuple[Tensor, ...]) -> zip:
        return zip(self.shapes.items(), columns, strict=True)

    def __getitem__(self, name: str) -> Tensor:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def rows(self, worlds: Tensor) -> dict[str, Tensor]:
        """A copy of these worlds' values, name -> (n, *shape)."""
        return self._name(self.matrix[worlds])

    def blank(self, n: int) -> Buffers:
        """n worlds of the same layout, all zero: fill them, then :meth:`put` them."""
        return Buffers(self.shapes, n, self.matrix.device, self.matrix.dtype)

    def load(self, matrix: Tensor) -> None:
        """Take every value from another's ``matrix``; ValueError if that is of another layout."""
        if matrix.shape != self.matrix.shape:
            found, wanted = tuple(matrix.shape), tuple(self.matrix.shape)
            raise ValueError(
                f"the environment's state has shape {found}, not {wanted}: it is of another version, and the run "
                "cannot be resumed; a new one can start from its weights (embodied train init=RUN)"
            )
        self.matrix.copy_(matrix)

    def put(self, worlds: Tensor, rows: Buffers) -> None:
        """Replace every value of these worlds."""
        self.matrix[worlds] = rows.matrix
