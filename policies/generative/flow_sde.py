"""Flow-SDE: noise that leaves the flow's marginals as they are (Liu et al. 2025, Flow-GRPO; pi_RL, Chen et al. 2025).

The flow dx = v dt has the same marginals as dx = (v + g^2/2 score) dt + g dW for any g(t). On the straight way
``x_t = t action + (1 - t) noise`` the score is ``-(x - t v) / (1 - t)``, and with ``g^2 = a^2 (1 - t) / t`` the drift
is ``v - a^2 / (2 t) (x - t v)``. At t = 0, where g is infinite, the first step uses t = 1/K in its place.

All K steps explore; the published variant that draws one stochastic step a decision is left out.

Legend: B rows; K sampling steps; H action chunk; A action size; F = 1 likelihood factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from embodied.configuration import choice, positive
from embodied.types import TaskSpec

from .base import GenerativeConfig
from .chain import JointChainPolicy
from .flow import RectifiedFlow
from .process import clipped


@dataclass(frozen=True)
class FlowSDEConfig(GenerativeConfig):
    """process: flow, shortcut or mean_flow.  noise_level: a."""

    process: str = "flow"
    logprob_reduction: str = "mean"
    noise_level: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("policy.process", self.process, ("flow", "shortcut", "mean_flow"))
        positive("policy.noise_level", self.noise_level)


def sde_mean(x: Tensor, velocity: Tensor, k: int, steps: int, level: float) -> Tensor:
    """Mean (B, H, A) of the Euler-Maruyama step from time k/K, velocity (B, H, A) given."""
    t = k / steps
    return x + (velocity - level**2 / (2 * max(t, 1 / steps)) * (x - t * velocity)) / steps


def sde_std(k: int, steps: int, level: float) -> float:
    """Its standard deviation."""
    t = k / steps
    return level * math.sqrt((1 - t) / max(t, 1 / steps) / steps)


class FlowSDEPolicy(JointChainPolicy):
    """The chain's joint log-probability; evaluation follows the flow without noise."""

    config: FlowSDEConfig

    def __init__(self, spec: TaskSpec, config: FlowSDEConfig | None = None) -> None:
        super().__init__(spec, config or FlowSDEConfig())
        self.flow = cast(RectifiedFlow, self.process)

    def step(self, x: Tensor, k: int, cond: Tensor) -> Tensor:
        """Mean (B, H, A) of the stochastic step with the flow's marginals."""
        velocity = self.flow.velocity(self.network, x, k, cond)
        return clipped(sde_mean(x, velocity, k, self.flow.steps, self.config.noise_level), self.flow.clip)

    def deviations(self, cond: Tensor) -> Tensor:
        """(1, K, 1, 1)."""
        steps = self.flow.steps
        return cond.new_tensor([sde_std(k, steps, self.config.noise_level) for k in range(steps)]).view(1, -1, 1, 1)
