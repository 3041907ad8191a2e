"""An image as 17 tokens, by convolutions that the instruction modulates (FiLM, Perez et al. 2018, sec. 2).

16 say what is in which of 4 x 4 cells; the last one says where things are, more exactly than cells do. Residual blocks
see a map that is still fine, for the sake of small objects in colours that other things have as well. In a test that
asked for the place of the named object of `put_on_plate` (5 of 64 pixels wide, 3600 images, batches of 128), 300 steps
with them halved the error; 400 with strided convolutions down to 8 x 8 left it that of a guess.

Legend: B rows; h, w pixels; C channels; E width; K keypoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

CELLS = 4
"""The image becomes CELLS x CELLS tokens, whatever its size, and one of keypoints."""
KEYPOINTS = 16
SHARPNESS = 2.0
"""Deviation of the keypoints' logits at the start: at 0 every place would be the middle."""
BLOCKS = 2
GROUPS = 4
_FINE, _SMALLEST = 16, 12
_MIN_CHANNELS = 16


def area_weights(size: int, cells: int) -> Tensor:
    """(cells, size): the share of each pixel in the mean over each of ``cells`` equal parts of ``size`` pixels."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * size / cells
    pixel = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp_min(0) * cells / size).float()


def stage_channels(smaller: int, width: int) -> list[int]:
    """Channels of each halving of an image whose smaller side has so many pixels, as many as leave 16 to 31 of them.

    The last has a third of ``width``, each earlier one half of the next, in multiples of 8.
    """
    halvings = max(1, (smaller // _FINE).bit_length() - 1)
    last = -(-width // 3)
    return [max(_MIN_CHANNELS, -(-(last >> (halvings - 1 - i)) // 8) * 8) for i in range(halvings)]


def _conv(size_in: int, size_out: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(size_in, size_out, kernel, stride, kernel // 2, bias=False)
    # An image's bytes lie channels last; weights that do too spare every convolution a copy.
    conv.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=torch.channels_last))
    return conv


def halve(channels: list[int]) -> nn.Sequential:
    """Convolutions of stride 2 from three colours on, (B, 3, h, w) -> (B, C, h / 2^n, w / 2^n).

    The last is neither normalised nor rectified: residual blocks add to it, and learnt more slowly if it was.
    """
    layers: list[nn.Module] = []
    for number, (size_in, size_out) in enumerate(zip([3, *channels], channels, strict=False)):
        layers += [_conv(size_in, size_out, 3 if number else 5, 2), nn.GroupNorm(GROUPS, size_out), nn.SiLU()]
    return nn.Sequential(*layers[:-2])


class FilmBlock(nn.Module):
    """Two convolutions beside a skip connection. With a summary, each channel is scaled and shifted by it; at the
    start, by nothing.

    language: the summary's size; None: there is none.
    """

    def __init__(self, channels: int, language: int | None) -> None:
        super().__init__()
        self.first, self.second = (_conv(channels, channels, 3, 1) for _ in range(2))
        self.norm_first, self.norm_second = (nn.GroupNorm(GROUPS, channels) for _ in range(2))
        self.film = None if language is None else nn.Linear(language, 2 * channels)
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, summary: Tensor | None) -> Tensor:
        """(B, C, h, w), (B, E) -> (B, C, h, w)."""
        y = functional.silu(self.norm_first(self.first(x)))
        y = self.norm_second(self.second(y))
        if self.film is not None and summary is not None:
            scale, shift = self.film(summary)[..., None, None].chunk(2, 1)
            y = torch.addcmul(shift, y, 1 + scale)
        return x + functional.silu(y)


class Keypoints(nn.Module):
    """Where in a map each of K questions is answered, as one token: the mean place under a softmax over all of them.

    The spatial softmax is that of Finn et al. 2016, "Deep Spatial Autoencoders for Visuomotor Learning", arXiv
    1509.06113; here the summary of what was said has its part in the questions.

    size: (h, w) of the map.  language: the summary's size; None: there is none.
    """

    places: Tensor

    def __init__(self, channels: int, size: tuple[int, int], width: int, language: int | None) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(KEYPOINTS, channels) * SHARPNESS / math.sqrt(channels))
        self.told = None if language is None else nn.Linear(language, KEYPOINTS * channels)
        down, across = ((torch.arange(side) + 0.5) * 2 / side - 1 for side in size)
        self.register_buffer("places", torch.cartesian_prod(down, across), persistent=False)
        self.out = nn.Linear(2 * KEYPOINTS, width)

    def forward(self, x: Tensor, summary: Tensor | None) -> Tensor:
        """(B, C, h, w), (B, E) -> (B, E)."""
        return self.out(self.where(x, summary).flatten(1))

    def where(self, x: Tensor, summary: Tensor | None) -> Tensor:
        """(B, K, 2): down and across, from -1 at the upper left edge to 1 at the lower right one."""
        questions = self.questions
        if self.told is not None and summary is not None:
            questions = questions + self.told(summary).unflatten(1, self.questions.shape)
        return (questions @ x.flatten(2)).softmax(-1) @ self.places


class Vision(nn.Module):
    """(B, h, w, 3) bytes, or floats in [0, 1] -> (B, 17, E)."""

    pool: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, language: int | None) -> None:
        super().__init__()
        if len(shape) != 3 or shape[-1] != 3 or min(shape[:2]) < _SMALLEST:
            raise ValueError(
                f"observation group 'image' has shape {shape}: must be (h, w, 3) with sides of {_SMALLEST} or more"
            )
        channels = stage_channels(min(shape[:2]), width)
        self.halve = halve(channels)
        self.blocks = nn.ModuleList(FilmBlock(channels[-1], language) for _ in range(BLOCKS))
        height, wide = (_halved(side, len(channels)) for side in shape[:2])
        self.keypoints = Keypoints(channels[-1], (height, wide), width, language)
        pool = torch.kron(area_weights(height, CELLS), area_weights(wide, CELLS))
        self.register_buffer("pool", pool, persistent=False)
        self.project = nn.Linear(channels[-1], width)
        self.position = nn.Parameter(0.1 * torch.randn(CELLS * CELLS, width))

    def forward(self, image: Tensor, summary: Tensor | None) -> Tensor:
        x = image.movedim(-1, 1).to(self.pool.dtype)
        x = self.halve(x / 127.5 - 1 if image.dtype == torch.uint8 else 2 * x - 1)
        for block in self.blocks:
            x = block(x, summary)
        cells = self.project(self.pool @ x.movedim(1, -1).flatten(1, 2)) + self.position
        return torch.cat([cells, self.keypoints(x, summary).unsqueeze(1)], 1)


def _halved(side: int, times: int) -> int:
    """Pixels that are left of a side after convolutions of stride 2, which round up."""
    for _ in range(times):
        side = (side + 1) // 2
    return side
