"""Where neighbours are in an array."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def span(ids: Sequence[int], device: torch.device) -> slice | Tensor:
    """Indices as a slice where each follows the one before, which makes a view; else as a tensor, which copies."""
    if ids and list(ids) == list(range(ids[0], ids[0] + len(ids))):
        return slice(ids[0], ids[0] + len(ids))
    return torch.tensor(ids, dtype=torch.long, device=device)
