"""Camera images as vision towers want them. Done here, since the published preprocessing needs torchvision.

Legend: B rows; h, w pixels; S side of the tower's square input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def channels_first(image: Tensor) -> Tensor:
    """(B, h, w, 3) bytes, or floats in [0, 1] -> (B, 3, h, w) in [0, 255], float32."""
    x = image.movedim(-1, 1)
    return x.float() if image.dtype == torch.uint8 else 255 * x.float()


def resized(x: Tensor, height: int, width: int, mode: str = "bicubic") -> Tensor:
    """(B, 3, h, w) in [0, 255] -> (B, 3, height, width), antialiased, in whole numbers as in an image of bytes."""
    if x.shape[-2:] == (height, width):
        return x
    return functional.interpolate(x, (height, width), mode=mode, antialias=True).round().clamp(0, 255)


def stretched(image: Tensor, side: int) -> Tensor:
    """(B, h, w, 3) -> (B, 3, S, S) in [0, 1]; the aspect is not kept."""
    return resized(channels_first(image), side, side) / 255


def letterboxed(image: Tensor, side: int) -> Tensor:
    """(B, h, w, 3) -> (B, 3, S, S) in [0, 1]; the aspect is kept, and the rest is black."""
    x = channels_first(image)
    ratio = max(x.shape[-2:]) / side
    height, width = (int(size / ratio) for size in x.shape[-2:])
    x = resized(x, height, width, "bilinear") / 255
    top, left = (side - height) // 2, (side - width) // 2
    return functional.pad(x, (left, side - width - left, top, side - height - top))
