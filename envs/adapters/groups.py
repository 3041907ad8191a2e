"""Observations of any Gymnasium space as observation groups: the inverse of ``spaces.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from embodied.types import Obs, ObsGroup, ObsTerm

Encoder = Callable[[np.ndarray], np.ndarray]
Leaf = tuple[tuple[Any, ...], spaces.Space]


class SpaceGroups:
    """Turns batches of a space's samples into groups.

    Vectors (Box of any shape, MultiBinary, and Discrete and MultiDiscrete as one-hot codes) are the terms of the group
    ``policy``; byte images (Box of 3 axes) are groups of their own, as they are. A Dict with a key ``policy`` is taken
    to hold groups already: each key is one. ValueError for other spaces.

    groups: name -> ObsGroup.
    """

    def __init__(self, space: spaces.Space, device: torch.device) -> None:
        self.device = device
        leaves = _leaves(space)
        grouped = isinstance(space, spaces.Dict) and "policy" in space.spaces
        images = [path for path, leaf in leaves if _is_image(leaf)]
        self._vectors: dict[str, list[tuple[tuple[Any, ...], Encoder]]] = {}
        self._images: dict[str, tuple[Any, ...]] = {}
        terms: dict[str, list[ObsTerm]] = {}
        self.groups: dict[str, ObsGroup] = {}
        for path, leaf in leaves:
            if _is_image(leaf):
                name = "image" if len(images) == 1 and not grouped else _name(path)
                self._images[name] = path
                self.groups[name] = ObsGroup(shape=leaf.shape or (), dtype="uint8", normalize=False)
                continue
            group = str(path[0]) if grouped else "policy"
            size, encode = _encoder(leaf)
            self._vectors.setdefault(group, []).append((path, encode))
            terms.setdefault(group, []).append(ObsTerm(_name(path), size))
        self.groups |= {name: ObsGroup.of(*parts) for name, parts in terms.items()}

    def __call__(self, batch: Any) -> Obs:
        """Groups of n rows, (n, ...) float32 or uint8, from a batch as vector environments return it."""
        obs = {name: self._tensor(_at(batch, path)) for name, path in self._images.items()}
        for name, parts in self._vectors.items():
            codes = [encode(np.asarray(_at(batch, path))) for path, encode in parts]
            obs[name] = self._tensor(np.concatenate(codes, axis=-1, dtype=np.float32, casting="unsafe"))
        return obs

    def _tensor(self, array: Any) -> Tensor:
        return torch.tensor(np.asarray(array), device=self.device)


def _leaves(space: spaces.Space, path: tuple[Any, ...] = ()) -> list[Leaf]:
    """Every space that is not a Dict or Tuple, with the keys that lead to it."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, part in space.spaces.items() for leaf in _leaves(part, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [leaf for key, part in enumerate(space.spaces) for leaf in _leaves(part, (*path, key))]
    return [(path, space)]


def _at(batch: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        batch = batch[key]
    return batch


def _name(path: tuple[Any, ...]) -> str:
    return "_".join(str(key) for key in path) or "observation"


def _is_image(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8


def _encoder(space: spaces.Space) -> tuple[int, Encoder]:
    """Size of a vector, and the function that makes it: (n, ...) -> (n, size)."""
    if isinstance(space, (spaces.Box, spaces.MultiBinary)):
        return int(np.prod(space.shape)), lambda x: x.reshape(len(x), -1)
    if isinstance(space, spaces.Discrete):
        count, start = int(space.n), int(space.start)
        return count, lambda x: np.eye(count, dtype=np.float32)[x.reshape(-1) - start]
    if isinstance(space, spaces.MultiDiscrete):
        counts, starts = space.nvec.reshape(-1), space.start.reshape(-1)
        codes = [np.eye(int(count), dtype=np.float32) for count in counts]

        def one_hot(x: np.ndarray) -> np.ndarray:
            columns = x.reshape(len(x), -1) - starts
            return np.concatenate([code[columns[:, i]] for i, code in enumerate(codes)], axis=-1)

        return int(counts.sum()), one_hot
    raise ValueError(
        f"observations of {space} are not supported; choose from Box, Discrete, MultiDiscrete, "
        "MultiBinary, and Dict or Tuple of these"
    )
