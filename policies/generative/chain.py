"""Policies whose likelihood is that of the denoising chain: every step that explores is a Gaussian.

The chain's states are kept in the trace. Drawing and judging call the same :meth:`ChainPolicy.step` and
:meth:`ChainPolicy.deviations`.

Legend: B rows; K sampling steps; J of them, the last ones, with a likelihood; H action chunk; A action size;
F likelihood factors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..distributions import gaussian_element_entropy, gaussian_log_density, reduce_elements
from .base import GenerativeConfig, GenerativePolicy
from .process import normal

NOISE_LIMIT = 3.0
"""Exploration is drawn within 3 standard deviations (DPPO, appendix). The constant that this adds to the log-density
cancels in every ratio."""


class ChainPolicy(GenerativePolicy):
    """Subclasses say how a step explores and how the steps' log-probabilities become factors.

    steps: J.  The trace holds ``chain`` (B, J, H, A), the states that these steps start from; the last leads to the
    action.
    """

    def __init__(self, spec: TaskSpec, config: GenerativeConfig, steps: int | None = None) -> None:
        super().__init__(spec, config)
        self.steps = self.process.steps if steps is None else steps
        self.first = self.process.steps - self.steps

    # What subclasses say ----------------------------------------------------------------------------------------

    def step(self, x: Tensor, k: int, cond: Tensor) -> Tensor:
        """Mean (B, H, A) of what step k makes of x (B, H, A) when it explores."""
        return self.process.mean(self.network, x, k, cond)

    def deviations(self, cond: Tensor) -> Tensor:
        """Standard deviations that the steps explore with: (B, K, H, A), or 1 in place of any size but K."""
        raise NotImplementedError

    def likelihood_std(self, std: Tensor) -> Tensor:
        """The deviations that steps are judged by, given those they are drawn with."""
        return std

    def log_density(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Of each element of the steps' outcomes x (B, J, H, A)."""
        return gaussian_log_density(x, mean, self.likelihood_std(std))

    def factors(self, steps: Tensor) -> Tensor:
        """What the J steps' figures (B, J) are as factors, (B, F)."""
        return steps

    # The contract -----------------------------------------------------------------------------------------------

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A) by a chain that explores, or take those of one that does not."""
        cond = self.condition(obs)
        if deterministic:
            states = self.chain(cond, self.draw_noise(cond, deterministic))
            log_prob = self._judge(states[self.first :], cond)[0]
        else:
            states, log_prob = self._draw(normal((cond.shape[0], *self.chunk), cond), cond)
        chain = torch.stack(states[self.first : -1], 1)
        return Decision(states[-1], self.factors(log_prob), self.value(obs), {"chain": chain})

    def _draw(self, x: Tensor, cond: Tensor) -> tuple[list[Tensor], Tensor]:
        """From the start x: the chain's K + 1 states, and the log-probabilities (B, J) of its last steps."""
        std = self.deviations(cond)
        states, means = [x], list[Tensor]()
        for k in range(self.process.steps):
            means.append(self.step(states[-1], k, cond))
            states.append(means[-1] + std[:, k] * torch.randn_like(x).clamp_(-NOISE_LIMIT, NOISE_LIMIT))
        return states, self._log_prob(states[self.first :], means[self.first :], std[:, self.first :])

    def _judge(self, states: Sequence[Tensor], cond: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (B, J) of the steps between J + 1 states."""
        std = self.deviations(cond)[:, self.first :]
        means = [self.step(x, k, cond) for k, x in enumerate(states[:-1], self.first)]
        entropy = gaussian_element_entropy(self.likelihood_std(std)).expand(states[0].shape[0], -1, *self.chunk)
        return self._log_prob(states, means, std), self._reduced(entropy)

    def _log_prob(self, states: Sequence[Tensor], means: Sequence[Tensor], std: Tensor) -> Tensor:
        """(B, J) of J means, and the J + 1 states that they lead between."""
        return self._reduced(self.log_density(torch.stack([*states[1:]], 1), torch.stack([*means], 1), std))

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of chains (B, J, H, A) that led to actions (B, H, A)."""
        log_prob, entropy = self._judge([*trace["chain"].unbind(1), action], self.condition(obs))
        return Evaluation(self.factors(log_prob), self.factors(entropy), self.value(obs))

    def _reduced(self, x: Tensor) -> Tensor:
        return reduce_elements(x, self.config.logprob_reduction)


class JointChainPolicy(ChainPolicy):
    """The whole chain is one factor: the sum of its steps' log-probabilities, or their mean under that reduction."""

    def factors(self, steps: Tensor) -> Tensor:
        """(B, J) -> (B, 1)."""
        joint = steps.sum(-1) if self.config.logprob_reduction == "sum" else steps.mean(-1)
        return joint.unsqueeze(-1)
