"""Mean flow (Geng et al. 2025): the network says the mean velocity between two times, so one step can be enough.

With u(x_t, t, r) the mean velocity from t to r >= t, ``(r - t) u`` is the way between them. Its derivative along the
path, ``u - (r - t) du/dt = v`` (sec. 4.1, with this repository's direction of time), gives the target
``v + (r - t) du/dt``, where du/dt is a Jacobian-vector product with the tangent (v, 1, 0). Left out: the adaptive
weight of the loss and guidance.

Legend: B rows; K sampling steps; H action chunk; A action size; C condition size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.configuration import within

from .denoisers import Denoiser
from .flow import FlowConfig, RectifiedFlow, between
from .process import mean_square, normal, rows_like


@dataclass(frozen=True)
class MeanFlowConfig(FlowConfig):
    """apart: share of rows whose two times differ; the others learn the instantaneous velocity."""

    apart: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        within("policy.mean_flow.apart", self.apart, 0.0, 1.0)


class MeanFlow(RectifiedFlow):
    """The second time is the one that the step leads to."""

    times = 2

    def __init__(self, config: MeanFlowConfig) -> None:
        super().__init__(config)
        self.apart = config.apart

    def grid(self, like: Tensor) -> tuple[Tensor, ...]:
        """k/K and (k+1)/K, where step k starts and ends, (K,) each."""
        return *super().grid(like), like.new_tensor([(k + 1) / self.steps for k in range(self.steps)])

    def instantaneous(self, network: Denoiser, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The velocity (B, H, A) at times t (B,)."""
        return network(x, network.embed_times(t, t), cond)

    def loss(self, network: Denoiser, action: Tensor, cond: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Squared error (B,) against the mean flow identity."""
        rows = action.shape[0]
        noise = normal(tuple(action.shape), action, generator)
        t, r = torch.rand(2, rows, dtype=action.dtype, device=action.device, generator=generator).sort(0).values
        apart = torch.rand(rows, device=action.device, generator=generator) < self.apart
        return self.identity_loss(network, action, noise, t, torch.where(apart, r, t), cond)

    def identity_loss(
        self, network: Denoiser, action: Tensor, noise: Tensor, t: Tensor, r: Tensor, cond: Tensor
    ) -> Tensor:
        """Squared error (B,) of the mean velocity from times t to r (B,) against the target, which has no gradient."""
        x, velocity = between(action, noise, t), action - noise
        inputs, tangents = (x, t, r), (velocity, torch.ones_like(t), torch.zeros_like(r))
        mean, change = torch.func.jvp(lambda x, t, r: network(x, network.embed_times(t, r), cond), inputs, tangents)  # type: ignore[misc]
        return mean_square(mean - (velocity + rows_like(r - t, x) * change).detach())
