"""RGB frames into an H.264 file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np


class VideoWriter:
    """RGB frames into an MP4 that every browser plays (H.264, yuv420p, index first).

    Written under a temporary name; the file appears when :meth:`close` is called. Use it as a context manager: an
    exception inside leaves no file.

    fps: frames a second. quality: 0 (lossless) to 51; 18 is hard to tell from the original, 28 is small.
    keyframe_interval: frames between those that can be decoded on their own; None: as the encoder likes.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: float,
        quality: int = 23,
        *,
        keyframe_interval: int | None = None,
    ) -> None:
        import av

        if width % 2 or height % 2:
            raise ValueError(f"H.264 needs an even width and height, got {width} x {height}")
        self.path, self.frames, self.fps = Path(path), 0, Fraction(fps).limit_denominator(1001)
        self._shape = (height, width, 3)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.name}.part")
        self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=self.fps)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.options = {"crf": str(quality), "preset": "veryfast"}
        if keyframe_interval is not None:
            self._stream.options |= {"g": str(keyframe_interval)}

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / float(self.fps)

    @property
    def megabytes(self) -> float:
        """Size so far; what the encoder still holds back is missing."""
        return self._temporary.stat().st_size / 2**20

    def add(self, frame: np.ndarray) -> None:
        """Append a frame (height, width, 3) uint8."""
        import av

        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"frame {frame.shape} {frame.dtype}; expected {self._shape} uint8")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self.frames == 0:
            self.abort()
            raise ValueError("a video needs at least one frame")
        self._container.mux(self._stream.encode())
        self._container.close()
        self._temporary.replace(self.path)

    def abort(self) -> None:
        """Give up; nothing stays on the disk."""
        self._container.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
