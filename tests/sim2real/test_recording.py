from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sim2real.recording import Recording


def _recording(steps: int, rows: int) -> Recording:
    obs = np.arange(steps * rows * 2, dtype=np.float32).reshape(steps, rows, 1, 2)
    start = np.zeros((steps, rows), bool)
    start[0] = True
    return Recording(obs, start)


def test_views():
    recording = _recording(3, 5)
    assert recording.count == 15
    flat = recording.flat()
    assert flat.obs.shape == (1, 15, 1, 2) and flat.start.all()
    np.testing.assert_array_equal(flat.obs[0, 7], recording.obs[1, 2])
    assert recording.first(2).obs.shape == (2, 5, 1, 2)
    np.testing.assert_array_equal(recording.spread(3).obs, recording.obs[:, [0, 2, 4]])
    assert recording.spread(99).obs.shape == (3, 5, 1, 2)
    np.testing.assert_array_equal(recording.rows(2).obs, recording.obs[:, 2:3])


def test_noise_goes_with_its_decisions():
    recording = _recording(3, 6).with_noise((2, 4, 1), seed=1)
    noise = recording.noise
    assert noise is not None and noise.shape == (3, 6, 2, 4, 1) and noise.dtype == np.float32
    assert not noise[:, 1::2].any() and np.abs(noise[:, ::2]).min() > 0
    drawn = _recording(1000, 8).with_noise((4, 4, 2)).noise
    assert drawn is not None and abs(drawn[:, ::2].mean()) < 0.02 and abs(drawn[:, ::2].std() - 1) < 0.02
    views = recording.flat(), recording.spread(2), recording.rows(2), recording.first(1)
    expected = noise.reshape(1, 18, 2, 4, 1), noise[:, [0, 5]], noise[:, 2:3], noise[:1]
    for view, part in zip(views, expected, strict=True):
        np.testing.assert_array_equal(view.noise, part)


def test_images_and_instructions_go_with_their_decisions():
    recording = _recording(3, 4)
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1, 1, 1)
    told = image.reshape(3, 4, 1)
    recording = dataclasses.replace(recording, image=image, instruction=told)
    views = recording.flat(), recording.take(np.array([3, 0])), recording.rows(1), recording.first(1), recording.fresh()
    expected = image.reshape(1, 12, 1, 1, 1), image[:, [3, 0]], image[:, 1:2], image[:1], image
    for view, part in zip(views, expected, strict=True):
        np.testing.assert_array_equal(view.image, part)
        np.testing.assert_array_equal(view.instruction, part.reshape(*part.shape[:2], 1))
    assert recording.fresh().start.all() and set(recording.optional()) == {"image", "instruction"}


def test_what_is_no_recording():
    good = _recording(2, 2)
    with pytest.raises(ValueError, match="step 0 must be a start"):
        Recording(good.obs, np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="no recording"):
        Recording(good.obs[0], good.start[0])
    with pytest.raises(ValueError, match="not finite"):
        Recording(np.full((1, 1, 1, 1), np.nan, np.float32), np.ones((1, 1), bool))
    with pytest.raises(ValueError, match=r"start \(2, 2\), noise \(2, 3, 1\)"):
        Recording(good.obs, good.start, np.zeros((2, 3, 1), np.float32))
    with pytest.raises(ValueError, match=r"start \(2, 2\), image \(1, 2, 8, 8, 3\)"):
        Recording(good.obs, good.start, image=np.zeros((1, 2, 8, 8, 3), np.uint8))
