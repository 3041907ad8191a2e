"""Images of any size become 17 tokens, modulated by what was said."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from policies.vla.vision import KEYPOINTS, FilmBlock, Keypoints, Vision, area_weights, halve, stage_channels


def test_area_weights_are_means_over_parts_of_pixels() -> None:
    expected = torch.tensor([[0.75, 0.25, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.25, 0.75]])
    torch.testing.assert_close(area_weights(4, 3), expected)
    assert torch.equal(area_weights(6, 6), torch.eye(6))
    x = torch.randn(2, 3, 12, 18)
    torch.testing.assert_close(
        torch.einsum("gh,kw,bchw->bcgk", area_weights(12, 6), area_weights(18, 6), x),
        functional.adaptive_avg_pool2d(x, 6),
    )


def test_images_are_halved_as_long_as_sixteen_pixels_are_left() -> None:
    assert stage_channels(64, 96) == [16, 32]
    assert stage_channels(96, 160) == [32, 56]
    assert stage_channels(224, 160) == [16, 32, 56]
    assert stage_channels(12, 16) == [16]


def test_the_last_halving_is_a_convolution_alone() -> None:
    layers = halve([8, 16])
    x = layers[:3](torch.randn(2, 3, 16, 16))
    assert x.mean((1, 2, 3)).abs().max() > 0.05  # of SiLU, after a norm
    assert torch.equal(layers[3:](2 * x), 2 * layers[3:](x)) and layers[3:](x).shape == (2, 16, 4, 4)


@pytest.mark.parametrize("shape", [(12, 12, 3), (64, 64, 3), (97, 120, 3), (224, 224, 3)])
def test_any_size_makes_17_tokens(shape: tuple[int, ...]) -> None:
    vision = Vision(shape, 16, 16)
    assert vision(torch.randint(0, 256, (2, *shape), dtype=torch.uint8), torch.randn(2, 16)).shape == (2, 17, 16)


def test_bytes_and_floats_of_the_same_image_are_the_same() -> None:
    vision = Vision((16, 16, 3), 8, None)
    image = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(vision(image, None), vision(image.float() / 255, None), atol=1e-5, rtol=1e-5)


def test_a_token_stands_for_a_place() -> None:
    vision = Vision((48, 48, 3), 16, None)
    image = torch.zeros(1, 48, 48, 3, dtype=torch.uint8)
    marked = image.clone()
    marked[:, 41:47, 1:7] = 255
    moved = (vision(marked, None) - vision(image, None))[:, :16].square().sum(-1).view(4, 4)
    assert moved.argmax() == 3 * 4 + 0


def test_keypoints_are_where_their_channel_is_bright_and_words_choose_the_channel() -> None:
    keypoints = Keypoints(2, (4, 8), 16, 3)
    x = torch.zeros(1, 2, 4, 8)
    x[0, 0, 0, 6], x[0, 1, 3, 1] = 100.0, 100.0
    with torch.no_grad():
        keypoints.questions.zero_()
        keypoints.told.weight.zero_()  # type: ignore[union-attr]
        keypoints.told.bias.zero_()  # type: ignore[union-attr]
        keypoints.told.weight[0, 1] = keypoints.told.weight[1, 2] = 1.0  # type: ignore[union-attr]
    silent, first, second = (keypoints.where(x, words[None])[0] for words in torch.eye(3))
    torch.testing.assert_close(silent, torch.zeros(KEYPOINTS, 2))
    torch.testing.assert_close(first[0], torch.tensor([-0.75, 0.625]))
    torch.testing.assert_close(second[0], torch.tensor([0.75, -0.625]))
    torch.testing.assert_close(first[1:], torch.zeros(KEYPOINTS - 1, 2))


def test_film_scales_and_shifts_channels_and_starts_by_doing_nothing() -> None:
    block, plain = FilmBlock(8, 4), FilmBlock(8, None)
    plain.load_state_dict(block.state_dict(), strict=False)
    x, summary = torch.randn(2, 8, 6, 6), torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    torch.testing.assert_close(block(x, summary), plain(x, None))
    with torch.no_grad():
        block.film.weight[0, 0], block.film.weight[8, 0] = 2.0, 0.5  # type: ignore[union-attr]
    inner = plain.norm_second(plain.second(functional.silu(plain.norm_first(plain.first(x)))))
    inner[0, 0] = 3 * inner[0, 0] + 0.5
    torch.testing.assert_close(block(x, summary), x + functional.silu(inner))


@pytest.mark.parametrize("shape", [(16, 16), (2, 16, 16, 3), (8, 16, 3)])
def test_other_shapes_are_errors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \(h, w, 3\) with sides of 12 or more"):
        Vision(shape, 8, None)
