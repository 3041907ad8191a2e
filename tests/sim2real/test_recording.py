from __future__ import annotations

import numpy as np
import pytest

from sim2real.recording import Recording


def _recording(steps: int, rows: int) -> Recording:
    obs = np.arange(steps * rows * 2, dtype=np.float32).reshape(steps, rows, 2)
    start = np.zeros((steps, rows), bool)
    start[0] = True
    return Recording(obs, start)


def test_views():
    recording = _recording(3, 5)
    assert recording.count == 15
    flat = recording.flat()
    assert flat.obs.shape == (1, 15, 2) and flat.start.all()
    np.testing.assert_array_equal(flat.obs[0, 7], recording.obs[1, 2])
    assert recording.first(2).obs.shape == (2, 5, 2)
    np.testing.assert_array_equal(recording.spread(3).obs, recording.obs[:, [0, 2, 4]])
    assert recording.spread(99).obs.shape == (3, 5, 2)


def test_what_is_no_recording():
    good = _recording(2, 2)
    with pytest.raises(ValueError, match="step 0 must be a start"):
        Recording(good.obs, np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="no recording"):
        Recording(good.obs[0], good.start[0])
    with pytest.raises(ValueError, match="not finite"):
        Recording(np.full((1, 1, 1), np.nan, np.float32), np.ones((1, 1), bool))
