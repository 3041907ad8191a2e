"""Images of any size become 36 tokens, modulated by what was said."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from policies.vla.vision import FilmStage, Vision, area_weights, stage_channels


def test_area_weights_are_means_over_parts_of_pixels() -> None:
    expected = torch.tensor([[0.75, 0.25, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.25, 0.75]])
    torch.testing.assert_close(area_weights(4, 3), expected)
    assert torch.equal(area_weights(6, 6), torch.eye(6))
    x = torch.randn(2, 3, 12, 18)
    torch.testing.assert_close(
        torch.einsum("gh,kw,bchw->bcgk", area_weights(12, 6), area_weights(18, 6), x),
        functional.adaptive_avg_pool2d(x, 6),
    )


def test_images_are_halved_as_long_as_six_pixels_are_left() -> None:
    assert stage_channels(64, 128) == [32, 64, 128]
    assert stage_channels(96, 160) == [24, 40, 80, 160]
    assert stage_channels(224, 160) == [16, 24, 40, 80, 160]


@pytest.mark.parametrize("shape", [(12, 12, 3), (64, 64, 3), (97, 120, 3), (224, 224, 3)])
def test_any_size_makes_36_tokens(shape: tuple[int, ...]) -> None:
    vision = Vision(shape, 16, 16)
    assert vision(torch.randint(0, 256, (2, *shape), dtype=torch.uint8), torch.randn(2, 16)).shape == (2, 36, 16)


def test_bytes_and_floats_of_the_same_image_are_the_same() -> None:
    vision = Vision((16, 16, 3), 8, None)
    image = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(vision(image, None), vision(image.float() / 255, None), atol=1e-5, rtol=1e-5)


def test_a_token_stands_for_a_place() -> None:
    vision = Vision((48, 48, 3), 16, None)
    image = torch.zeros(1, 48, 48, 3, dtype=torch.uint8)
    marked = image.clone()
    marked[:, 41:47, 1:7] = 255
    moved = (vision(marked, None) - vision(image, None)).square().sum(-1).view(6, 6)
    assert moved.argmax() == 5 * 6 + 0


def test_film_scales_and_shifts_channels_and_starts_by_doing_nothing() -> None:
    stage, plain = FilmStage(3, 8, 4), FilmStage(3, 8, None)
    plain.load_state_dict(stage.state_dict(), strict=False)
    x, summary = torch.randn(2, 3, 8, 8), torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    torch.testing.assert_close(stage(x, summary), plain(x, None))
    with torch.no_grad():
        stage.film.weight[0, 0], stage.film.weight[8, 0] = 2.0, 0.5  # type: ignore[union-attr]
    expected = plain.norm(plain.conv(x))
    expected[0, 0] = 3 * expected[0, 0] + 0.5
    torch.testing.assert_close(stage(x, summary), functional.silu(expected))


@pytest.mark.parametrize("shape", [(16, 16), (2, 16, 16, 3), (8, 16, 3)])
def test_other_shapes_are_errors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(h, w, 3\) with sides of 12 or more"):
        Vision(shape, 8, None)
