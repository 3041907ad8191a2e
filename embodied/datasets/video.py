"""Camera frames in MP4 files: many episodes one after the other, found again by their time stamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from .episodes import DatasetError

KEYFRAME_INTERVAL = 2
"""Frames between those that can be decoded on their own: random access is what training does."""


class VideoFile:
    """Writes frames (height, width, 3) uint8 one after the other as H.264, yuv420p.

    fps: frames a second.  quality: 0 (lossless) to 51.
    """

    def __init__(self, path: Path, height: int, width: int, fps: float, quality: int = 18) -> None:
        import av

        if height % 2 or width % 2:
            raise DatasetError(f"{path}: H.264 needs an even height and width, got {height} x {width}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames, self.fps = path, 0, fps
        self._container = av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.options = {"crf": str(quality), "preset": "veryfast", "g": str(KEYFRAME_INTERVAL)}

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / self.fps

    def add(self, frames: np.ndarray) -> None:
        """Append frames (T, height, width, 3) uint8."""
        import av

        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            self._container.mux(self._stream.encode(picture))
        self.frames += len(frames)

    def megabytes(self) -> float:
        """Size so far; what the encoder still holds back is missing."""
        return self.path.stat().st_size / 2**20

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()


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
