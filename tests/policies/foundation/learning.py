"""The task of the squares as demonstrations, for tests that clone a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.datasets import DatasetInfo, Episode, Episodes, GroupInfo

from ..vla.squares import LENGTH, SIDE, draw

QUICK: dict[str, Any] = {"log_interval": 1, "num_threads": 1}


def demonstrations(count: int) -> Episodes:
    """Episodes of one step: the right answers."""
    obs, answer = draw(count, torch.Generator().manual_seed(0))
    groups = {"policy": GroupInfo((1,)), "image": GroupInfo((SIDE, SIDE, 3), "uint8")}
    info = DatasetInfo("squares", 0.1, groups | {"instruction": GroupInfo((LENGTH,), "uint8")}, ("column", "row"))
    rows = ({name: x[i : i + 1].numpy() for name, x in obs.items()} for i in range(count))
    return Episodes(info, [Episode(row, answer[i : i + 1].numpy(), np.ones(1)) for i, row in enumerate(rows)])


def seen() -> tuple[dict[str, Tensor], Tensor]:
    """Other scenes, and the right chunks (16, 1, 2)."""
    obs, answer = draw(16, torch.Generator().manual_seed(1))
    return obs, answer.unsqueeze(1)
