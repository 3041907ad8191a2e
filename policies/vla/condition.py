"""The trunk as the encoder of flow and diffusion policies: what a query finds out is the condition.

Legend: B rows; C condition size, the trunk's width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embodied.types import Obs, TaskSpec

from .trunk import Trunk, TrunkConfig


class VisionLanguageEncoder(nn.Module):
    """Image, instruction and measurements as one vector: obs -> (B, C).  size: C."""

    def __init__(self, spec: TaskSpec, config: TrunkConfig) -> None:
        super().__init__()
        self.trunk, self.size = Trunk(spec, config), config.width
        self.query = nn.Parameter(torch.randn(1, config.width))

    def forward(self, obs: Obs, dtype: torch.dtype) -> Tensor:
        """In the trunk's own type, which is the policy's, ``dtype``."""
        context = self.trunk.encode(obs)
        return self.trunk.decode(self.query.expand(context.rows, 1, -1), context)[0].squeeze(1)
