"""Images of a dataset in a file that is mapped into memory, so that they need not fit into it.

The system reads what is looked at and forgets what has not been for long; where memory is enough, nothing is read
twice. The file has no name, so that nothing is left behind, however the process ends.

Legend: F frames; h, w pixels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class FrameFile:
    """Takes frames as they come and hands all of them out as one tensor. folder: on whose disk they are kept."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the tensor
        self._count = 0

    def add(self, frames: np.ndarray) -> None:
        """Append frames (n, h, w, 3) of bytes."""
        self._file.write(np.ascontiguousarray(frames).data)
        self._count += len(frames)

    def tensor(self, shape: tuple[int, ...]) -> Tensor:
        """All frames (F, h, w, 3), read where they are indexed. shape: of one frame."""
        self._file.flush()
        return torch.from_numpy(np.memmap(self._file, np.uint8, "r+", shape=(self._count, *shape)))
