"""Camera frames of an episode, found in an MP4 file of many episodes by their time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .episodes import DatasetError


class FilmReader:
    """Frames of one MP4 file. It stays open, and what follows the frames read last is read without looking for it."""

    def __init__(self, path: Path) -> None:
        from av.video.reformatter import VideoReformatter

        self.path = path
        self._colours: Any = VideoReformatter()  # kept, and of one thread: 8 ms a small frame become 0.01
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._due = -np.inf  # seconds: when the next frame of _frames is to be shown

    def read(self, start: float, count: int, fps: float, where: str) -> np.ndarray:
        """Frames (count, height, width, 3) uint8, the first of them at ``start`` seconds.

        Raises:
            DatasetError: the file is missing or damaged, or a frame is not where its time stamp says.
        """
        import av

        due, self._due = self._due, -np.inf  # known again when all has gone well
        try:
            if abs(start - due) > 0.5 / fps:
                self._seek(start)
            frames = self._take(start, count, fps, where)
        except (av.FFmpegError, OSError, IndexError) as error:
            raise DatasetError(f"{where}: cannot read {self.path}: {error}") from error
        if len(frames) < count:
            raise DatasetError(
                f"{where}: {self.path} ends after {len(frames)} of its {count} frames from {start:.4f} s on"
            )
        self._due = start + count / fps
        return np.stack(frames)

    def _seek(self, start: float) -> None:
        import av

        if self._container is None:
            self._container = av.open(str(self.path))
        stream = self._container.streams.video[0]
        self._container.seek(max(0, round(start / float(stream.time_base or 1))), stream=stream)
        self._frames = self._container.decode(stream)

    def _take(self, start: float, count: int, fps: float, where: str) -> list[np.ndarray]:
        """The frames from ``start`` seconds on, fewer where the file ends; none is looked at beyond the last."""
        frames: list[np.ndarray] = []
        tick, half = float(self._container.streams.video[0].time_base or 1), 0.5 / fps
        while len(frames) < count and (frame := next(self._frames, None)) is not None:
            time, wanted = float(frame.pts or 0) * tick, start + len(frames) / fps
            if time < start - half:
                continue
            if abs(time - wanted) > half:
                raise DatasetError(
                    f"{where}: {self.path} has a frame at {time:.4f} s where one at {wanted:.4f} s is due"
                )
            frames.append(self._colours.reformat(frame, format="rgb24", threads=1).to_ndarray())
        return frames
