from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from embodied.video import VideoWriter

from ..helpers.video import read_video


def _frames(count: int) -> list[np.ndarray]:
    """A bright square that moves right by 16 pixels a frame."""
    frames = np.zeros((count, 64, 160, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[16:32, 16 * i : 16 * i + 16] = (250, 120, 10)
    return list(frames)


def test_frames_come_back(tmp_path: Path):
    path = tmp_path / "new folder" / "film.mp4"
    with VideoWriter(path, 160, 64, fps=12.5) as writer:
        for frame in _frames(9):
            writer.add(frame)
        assert writer.seconds == pytest.approx(9 / 12.5)
        assert not path.exists()  # not before it is whole
    frames, fps = read_video(path)
    assert len(frames) == 9 and fps == 12.5
    for i, frame in enumerate(frames):
        column = int(frame[24].astype(int).sum(-1).argmax())
        assert abs(column - (16 * i + 8)) <= 8
        assert np.abs(frame[24, 16 * i + 8].astype(int) - (250, 120, 10)).max() < 40
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")  # a browser can start at once
    assert list(path.parent.iterdir()) == [path]


def test_nothing_stays_after_an_error(tmp_path: Path):
    with pytest.raises(RuntimeError, match="boom"), VideoWriter(tmp_path / "film.mp4", 160, 64, 25) as writer:
        writer.add(_frames(1)[0])
        raise RuntimeError("boom")
    with pytest.raises(ValueError, match="at least one frame"), VideoWriter(tmp_path / "film.mp4", 160, 64, 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="even width and height, got 161 x 64"):
        VideoWriter(tmp_path / "film.mp4", 161, 64, 25)
    writer = VideoWriter(tmp_path / "film.mp4", 160, 64, 25)
    with pytest.raises(ValueError, match=r"frame \(64, 160, 3\) float64; expected"):
        writer.add(_frames(1)[0].astype(float))
    writer.abort()
