"""What the robot observes, as one vector: flat measurements (with their history) and, where a task has them, images.

Legend: B rows; V views; h, w pixels; C condition size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from embodied.configuration import positive
from embodied.types import CRITIC_GROUP, Obs, TaskSpec

from ..mlp import group_size
from ..networks import mlp

IMAGE = "image"


@dataclass(frozen=True)
class ImageConfig:
    """channels: of the convolutions, each of which halves height and width.  features: of one image."""

    channels: tuple[int, ...] = (32, 64, 64)
    features: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        positive("policy.image.features", self.features)
        if not self.channels:
            raise ValueError("policy.image.channels is empty: at least one convolution")


class ImageEncoder(nn.Module):
    """A small convolutional network; all views share it. (B, h, w, 3) or (B, V, h, w, 3) -> (B, V * features).

    Images are bytes, or floats in [0, 1].
    """

    def __init__(self, shape: tuple[int, ...], config: ImageConfig) -> None:
        super().__init__()
        if len(shape) not in (3, 4) or shape[-1] != 3:
            raise ValueError(f"observation group 'image' has shape {shape}: must be (h, w, 3) or (views, h, w, 3)")
        height, width = shape[-3:-1]
        layers: list[nn.Module] = []
        size_in = 3
        for size in config.channels:
            layers += [nn.Conv2d(size_in, size, 3, stride=2, padding=1), nn.ReLU()]
            size_in, height, width = size, (height + 1) // 2, (width + 1) // 2
        layers += [nn.Flatten(), nn.Linear(size_in * height * width, config.features), nn.LayerNorm(config.features)]
        self.layers = nn.Sequential(*layers)
        self.size = config.features * (shape[0] if len(shape) == 4 else 1)

    def forward(self, image: Tensor) -> Tensor:
        dtype = next(self.layers.parameters()).dtype
        pixels = image.to(dtype) / 255 if image.dtype == torch.uint8 else image.to(dtype)
        views = pixels.unflatten(0, (-1, 1)) if pixels.dim() == 4 else pixels
        features = self.layers(views.flatten(0, 1).movedim(-1, 1))
        return features.view(views.shape[0], -1)


class ObservationEncoder(nn.Module):
    """A vector group and the images, side by side: obs -> (B, C).

    group: name of the vector group.  images: False leaves them out even where the task has them.  size: C.
    """

    def __init__(self, spec: TaskSpec, group: str, config: ImageConfig, images: bool = True) -> None:
        super().__init__()
        self.group = group
        self.size = group_size(spec, group)
        self.image: ImageEncoder | None = None
        if images and IMAGE in spec.obs:
            self.image = ImageEncoder(spec.obs[IMAGE].shape, config)
            self.size += self.image.size

    def forward(self, obs: Obs, dtype: torch.dtype) -> Tensor:
        """In ``dtype``, that of the policy's parameters."""
        vector = obs[self.group].flatten(1).to(dtype)
        return vector if self.image is None else torch.cat([vector, self.image(obs[IMAGE])], -1)


class Critic(nn.Module):
    """Value (B,) of the group ``critic``; without such a group, of what the policy sees, images included."""

    def __init__(self, spec: TaskSpec, hidden: tuple[int, ...], activation: str, config: ImageConfig) -> None:
        super().__init__()
        privileged = CRITIC_GROUP in spec.obs
        self.encoder = ObservationEncoder(spec, CRITIC_GROUP if privileged else "policy", config, not privileged)
        self.layers = mlp(self.encoder.size, hidden, 1, activation)

    def forward(self, obs: Obs, dtype: torch.dtype) -> Tensor:
        return self.layers(self.encoder(obs, dtype)).squeeze(-1)
