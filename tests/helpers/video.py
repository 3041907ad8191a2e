"""Films, read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def read_video(path: str | Path) -> tuple[Sequence[np.ndarray], float]:
    """All frames (height, width, 3) uint8 of a video, and its frames a second."""
    import av

    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames, float(rate or 0)
