from __future__ import annotations

import numpy as np

from embodied.datasets.statistics import image_statistics, merged, statistics


def test_of_rows() -> None:
    found = statistics(np.array([[0.0, 2.0], [10.0, 4.0]]))
    assert found["min"] == [0, 2] and found["max"] == [10, 4] and found["mean"] == [5, 3] and found["std"] == [5, 1]
    assert found["q50"] == [5, 3] and found["q10"] == [1.0, 2.2] and found["count"] == [2]


def test_of_a_column_of_flags() -> None:
    assert statistics(np.array([True, False, True, True]))["mean"] == [0.75]


def test_merging_equals_the_whole_in_moments() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 2)) + n for n in (3, 8)]
    whole, found = statistics(np.concatenate(parts)), merged([statistics(part) for part in parts])
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], whole[name])


def test_of_images_by_channel() -> None:
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    frames[..., 1] = 255
    found = image_statistics(frames)
    assert found["mean"] == [[[0.0]], [[1.0]], [[0.0]]] and found["count"] == [4 * 2 * 2]
