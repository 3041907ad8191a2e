from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embodied.datasets import DatasetError
from embodied.datasets.video import read_frames
from embodied.video import VideoWriter

from .examples import filmed


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two episodes of 5 grey frames at 10 Hz, each 10 brighter than the one before."""
    with VideoWriter(tmp_path / "film.mp4", 48, 32, 10, keyframe_interval=2) as writer:
        for number in range(2):
            for frame in filmed(5, number).obs["top"]:
                writer.add(frame)
        assert writer.frames == 10 and writer.seconds == 1.0
    return tmp_path / "film.mp4"


def test_any_part_is_found_by_its_time(film: Path) -> None:
    whole = np.concatenate([filmed(5, number).obs["top"] for number in range(2)]).astype(int)
    for first, count in ((0, 10), (5, 5), (3, 4), (9, 1)):
        found = read_frames(film, first / 10, count, 10, "here")
        assert np.abs(found - whole[first : first + count]).max() <= 3


def test_frames_that_are_not_where_they_should_be(film: Path) -> None:
    with pytest.raises(DatasetError, match=r"here: .*film\.mp4 has a frame at 0\.1000 s where one at 0\.0500 s is due"):
        read_frames(film, 0.0, 3, 20, "here")
    with pytest.raises(DatasetError, match=r"here: .*film\.mp4 ends after 2 of its 3 frames from 0\.8000 s on"):
        read_frames(film, 0.8, 3, 10, "here")
    with pytest.raises(DatasetError, match="here: cannot read"):
        read_frames(film.with_name("none.mp4"), 0.0, 1, 10, "here")
