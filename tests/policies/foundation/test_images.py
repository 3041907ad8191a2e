from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.foundation.images import letterboxed, stretched


def noise(height: int, width: int) -> Tensor:
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 0.6 + 0.2
    return (smooth.movedim(1, -1) * 255).to(torch.uint8)


@pytest.mark.parametrize("size", [(48, 64), (20, 30), (14, 14)])
def test_stretching_is_that_of_pillow(size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    x = noise(*size)
    wanted = np.asarray(image.fromarray(x[0].numpy()).resize((28, 28), image.Resampling.BICUBIC))
    found = stretched(x, 28)[0].movedim(0, -1) * 255
    assert found.shape == (28, 28, 3)
    error = (found - torch.tensor(wanted.astype(np.float32))).abs()
    assert error.max() <= 2 and error.mean() < 0.4  # of 255; Pillow rounds to bytes between rows and columns, too


def test_floats_are_taken_as_bytes_are() -> None:
    x = noise(20, 30)
    torch.testing.assert_close(stretched(x.float() / 255, 14), stretched(x, 14))


def test_what_has_the_right_size_is_only_scaled() -> None:
    x = noise(14, 14)
    assert torch.equal(stretched(x, 14), x.movedim(-1, 1).float() / 255)


def test_letterboxing_keeps_the_aspect_and_centres() -> None:
    x = torch.full((2, 20, 40, 3), 255, dtype=torch.uint8)
    found = letterboxed(x, 20)
    assert found.shape == (2, 3, 20, 20)
    assert (found[:, :, 5:15] == 1).all() and not found[:, :, :5].any() and not found[:, :, 15:].any()
    tall = letterboxed(x.transpose(1, 2), 20)
    assert torch.equal(tall, found.transpose(-1, -2))
