"""Camera frames of an episode, found in an MP4 file of many episodes by their time stamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .episodes import DatasetError


def read_frames(path: Path, start: float, count: int, fps: float, where: str) -> np.ndarray:
    """Frames (count, height, width, 3) uint8 of a video, the first of them at ``start`` seconds.

    Raises:
        DatasetError: the file is missing or damaged, or a frame is not where its time stamp says.
    """
    import av

    frames: list[np.ndarray] = []
    half = 0.5 / fps
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            tick = float(stream.time_base or 1)
            container.seek(max(0, round(start / tick)), stream=stream)
            for frame in container.decode(stream):
                time = float(frame.pts or 0) * tick
                if time < start - half:
                    continue
                wanted = start + len(frames) / fps
                if abs(time - wanted) > half:
                    raise DatasetError(
                        f"{where}: {path} has a frame at {time:.4f} s where one at {wanted:.4f} s is due"
                    )
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == count:
                    return np.stack(frames)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"{where}: cannot read {path}: {error}") from error
    raise DatasetError(f"{where}: {path} ends after {len(frames)} of its {count} frames from {start:.4f} s on")
