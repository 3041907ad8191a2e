"""How a noise-conditioned deterministic output f (B, H, A) becomes a distribution over actions, for NCDPO.

Legend: B rows; H action chunk; A action size, or the number of choices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..distributions import StateIndependentStd, gaussian_element_entropy, gaussian_log_density, reduce_elements


class GaussianHead(nn.Module):
    """N(f, diag std^2); the deviation is learnt and depends on nothing."""

    def __init__(self, chunk: tuple[int, int], init_std: float, min_std: float, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction
        self.std = StateIndependentStd(chunk, init_std, min_std)

    def mode(self, f: Tensor) -> Tensor:
        """The most likely action (B, H, A)."""
        return f

    def draw(self, f: Tensor) -> Tensor:
        """An action (B, H, A)."""
        return f + self.std() * torch.randn_like(f)

    def log_prob(self, f: Tensor, action: Tensor) -> Tensor:
        """(B,), nats; summed or averaged over the chunk's elements."""
        return reduce_elements(gaussian_log_density(action, f, self.std()), self.reduction)

    def entropy(self, f: Tensor) -> Tensor:
        """(B,), nats."""
        return reduce_elements(gaussian_element_entropy(self.std()), self.reduction).expand(f.shape[0])

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return {"std": self.std().mean().item()}


class SoftmaxHead(nn.Module):
    """One of A choices for each of H slots: softmax of ``scale * f``, with a learnt scale.

    An action is one-hot, (B, H, A). The scale lets a bounded f (a process that clips) become certain.
    """

    def __init__(self, chunk: tuple[int, int], reduction: str, scale: float = 3.0) -> None:
        super().__init__()
        self.reduction, self.choices = reduction, chunk[1]
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def log_probs(self, f: Tensor) -> Tensor:
        """Of every choice, (B, H, A)."""
        return (self.log_scale.exp() * f).log_softmax(-1)

    def mode(self, f: Tensor) -> Tensor:
        """The most likely choices, one-hot."""
        return functional.one_hot(f.argmax(-1), self.choices).to(f.dtype)

    def draw(self, f: Tensor) -> Tensor:
        """Choices drawn, one-hot."""
        chosen = torch.multinomial(self.log_probs(f).exp().flatten(0, 1), 1).view(f.shape[:-1])
        return functional.one_hot(chosen, self.choices).to(f.dtype)

    def log_prob(self, f: Tensor, action: Tensor) -> Tensor:
        """(B,), nats; summed or averaged over the H slots."""
        return self._over_slots((self.log_probs(f) * action).sum(-1))

    def entropy(self, f: Tensor) -> Tensor:
        """(B,), nats."""
        logs = self.log_probs(f)
        return self._over_slots(-(logs.exp() * logs).sum(-1))

    def _over_slots(self, x: Tensor) -> Tensor:
        return x.sum(-1) if self.reduction == "sum" else x.mean(-1)

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return {"logit_scale": self.log_scale.exp().item()}
