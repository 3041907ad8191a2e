"""A value from a hidden state of the network.

Legend: B rows; E width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..networks import mlp


class ValueHead(nn.Module):
    """A perceptron with GELU (RL4VLA: 512 and 128 wide) in its own type, float32 unless the policy is made double."""

    def __init__(self, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.layers = mlp(width, hidden, 1, "gelu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, E) -> (B,)."""
        return self.layers(x.to(next(self.parameters()).dtype)).squeeze(-1)
