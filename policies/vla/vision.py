"""An image as 36 tokens, by convolutions that the instruction modulates (FiLM, Perez et al. 2018, sec. 2).

Legend: B rows; h, w pixels; C channels; G = 6 x 6 cells; E width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CELLS = 6
"""The image becomes CELLS x CELLS tokens, whatever its size."""
GROUPS = 4
_MIN_CHANNELS = 16


def area_weights(size: int, cells: int) -> Tensor:
    """(cells, size): the share of each pixel in the mean over each of ``cells`` equal parts of ``size`` pixels."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * size / cells
    pixel = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp_min(0) * cells / size).float()


def stage_channels(smaller: int, width: int) -> list[int]:
    """Channels of each halving of an image whose smaller side has so many pixels, as many as leave CELLS of them.

    The last has about ``width``, each earlier one half of the next, in multiples of 8.
    """
    halvings = 0
    while smaller >> (halvings + 1) >= CELLS:
        halvings += 1
    return [max(_MIN_CHANNELS, -(-(width >> (halvings - 1 - i)) // 8) * 8) for i in range(halvings)]


class FilmStage(nn.Module):
    """Halves the image. With a summary, each channel is scaled and shifted by it; at the start, by nothing.

    language: the summary's size; None: there is none.
    """

    def __init__(self, size_in: int, size_out: int, language: int | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(size_in, size_out, 3, stride=2, padding=1, bias=False)
        # An image's bytes lie channels last; weights that do too spare every convolution a copy.
        self.conv.weight = nn.Parameter(self.conv.weight.detach().contiguous(memory_format=torch.channels_last))
        self.norm = nn.GroupNorm(GROUPS, size_out)
        self.film = None if language is None else nn.Linear(language, 2 * size_out)
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, summary: Tensor | None) -> Tensor:
        """(B, C, h, w), (B, E) -> (B, C', h / 2, w / 2)."""
        x = self.norm(self.conv(x))
        if self.film is not None and summary is not None:
            scale, shift = self.film(summary)[..., None, None].chunk(2, 1)
            x = torch.addcmul(shift, x, 1 + scale)
        return functional.silu(x)


class Vision(nn.Module):
    """(B, h, w, 3) bytes, or floats in [0, 1] -> (B, 36, E).

    The first of several stages, which has the most pixels, sees edges and colours, and is not modulated.
    """

    pool: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, language: int | None) -> None:
        super().__init__()
        if len(shape) != 3 or shape[-1] != 3 or min(shape[:2]) < 2 * CELLS:
            raise ValueError(
                f"observation group 'image' has shape {shape}: must be (h, w, 3) with sides of {2 * CELLS} or more"
            )
        channels = stage_channels(min(shape[:2]), width)
        told = [language] if len(channels) == 1 else [None, *[language] * (len(channels) - 1)]
        sizes = zip([3, *channels], channels, told, strict=False)
        self.stages = nn.ModuleList(FilmStage(*size) for size in sizes)
        height, wide = (_halved(side, len(channels)) for side in shape[:2])
        pool = torch.kron(area_weights(height, CELLS), area_weights(wide, CELLS))
        self.register_buffer("pool", pool, persistent=False)
        self.project = nn.Linear(channels[-1], width)
        self.position = nn.Parameter(0.1 * torch.randn(CELLS * CELLS, width))

    def forward(self, image: Tensor, summary: Tensor | None) -> Tensor:
        x = image.movedim(-1, 1).to(self.pool.dtype)
        x = x / 127.5 - 1 if image.dtype == torch.uint8 else 2 * x - 1
        for stage in self.stages:
            x = stage(x, summary)
        return self.project(self.pool @ x.movedim(1, -1).flatten(1, 2)) + self.position


def _halved(side: int, times: int) -> int:
    """Pixels that are left of a side after convolutions of stride 2, which round up."""
    for _ in range(times):
        side = (side + 1) // 2
    return side
