from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embodied.datasets import DatasetError
from embodied.datasets.video import FilmReader
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
    reader = FilmReader(film)
    for first, count in ((0, 10), (5, 5), (3, 4), (7, 2), (9, 1), (0, 2), (2, 3)):  # in part where it left off
        for film_reader in (reader, FilmReader(film)):
            found = film_reader.read(first / 10, count, 10, "here")
            assert np.abs(found - whole[first : first + count]).max() <= 3


def test_what_follows_is_not_looked_for(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, looked = FilmReader(film), []
    seek = reader._seek
    monkeypatch.setattr(reader, "_seek", lambda start: (looked.append(start), seek(start)))
    for first in (0, 2, 4, 7, 9):
        reader.read(first / 10, 2 if first < 9 else 1, 10, "here")
    assert looked == [0.0, 0.7]


def test_a_reader_survives_a_mistake(film: Path) -> None:
    reader = FilmReader(film)
    with pytest.raises(DatasetError, match="is due"):
        reader.read(0.0, 3, 20, "here")
    assert reader.read(0.1, 2, 10, "here").shape == (2, 32, 48, 3)


def test_frames_that_are_not_where_they_should_be(film: Path) -> None:
    with pytest.raises(DatasetError, match=r"here: .*film\.mp4 has a frame at 0\.1000 s where one at 0\.0500 s is due"):
        FilmReader(film).read(0.0, 3, 20, "here")
    with pytest.raises(DatasetError, match=r"here: .*film\.mp4 ends after 2 of its 3 frames from 0\.8000 s on"):
        FilmReader(film).read(0.8, 3, 10, "here")
    with pytest.raises(DatasetError, match="here: cannot read"):
        FilmReader(film.with_name("none.mp4")).read(0.0, 1, 10, "here")
