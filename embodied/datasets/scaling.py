"""Normalisation from data: an affine map by quantiles, by extremes, or by moments, ``(x - centre) / width``.

Legend: F frames; D elements.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..configuration import choice

METHODS = ("quantiles", "minmax", "mean_std", "none")
CONSTANT = 1e-4
"""An element whose width is below this never varied in the data: it is centred and not scaled, so that noise or a first
change of it is not blown up."""


class Scale(NamedTuple):
    """centre, width: (D,) float64 each; ``(x - centre) / width`` is normalised."""

    centre: Tensor
    width: Tensor


def scale_of(x: Tensor, method: str) -> Scale:
    """The normalisation of rows x (F, D).

    Args:
        method: ``quantiles`` maps the 1 % and 99 % quantiles to -1 and 1, ``minmax`` the extremes; ``mean_std``
            standardises; ``none`` changes nothing.
    """
    choice("normalization", method, METHODS)
    x = x.double()
    if method == "none":
        return Scale(torch.zeros_like(x[0]), torch.ones_like(x[0]))
    if method == "mean_std":
        centre, width = x.mean(0), x.std(0, correction=0)
    else:
        low, high = _quantiles(x, 0.01, 0.99) if method == "quantiles" else (x.amin(0), x.amax(0))
        centre, width = (low + high) / 2, (high - low) / 2
    return Scale(centre, torch.where(width < CONSTANT, torch.ones_like(width), width))


def _quantiles(x: Tensor, *shares: float) -> tuple[Tensor, ...]:
    """Linearly interpolated quantiles of each column; torch.quantile refuses more than 16 million numbers."""
    ordered = x.sort(0).values
    found = []
    for share in shares:
        position = share * (len(x) - 1)
        below = int(position)
        above = min(below + 1, len(x) - 1)
        found.append(ordered[below].lerp(ordered[above], position - below))
    return tuple(found)
