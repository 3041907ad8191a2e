"""Policies whose likelihood is that of the denoising chain: every step that explores is a Gaussian.

The chain's states are kept in the trace. Drawing goes from state to state; judging, where all of them are known, looks
at all at once. Both call the same :meth:`ChainPolicy.mean` and :meth:`ChainPolicy.deviations`.

Legend: B rows; K sampling steps; J of them, the last ones, with a likelihood; H action chunk; A action size;
F likelihood factors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..distributions import gaussian_element_entropy, gaussian_log_density, reduce_elements
from .base import GenerativeConfig, GenerativePolicy
from .process import Step, normal

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

    def mean(self, output: Tensor, x: Tensor, k: Step) -> Tensor:
        """Mean of what step k makes of x (B, H, A) when it explores, by the network's output (B, H, A)."""
        return self.process.mean(output, x, k)

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
            states = torch.stack(self.chain(cond, self.draw_noise(cond, deterministic))[self.first :], 1)
            log_prob = self._judge(states, cond)[0]
        else:
            states, log_prob = self._draw(cond)
        return Decision(states[:, -1], self.factors(log_prob), self.value(obs), {"chain": states[:, :-1]})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of chains (B, J, H, A) that led to actions (B, H, A)."""
        states = torch.cat([trace["chain"], action.unsqueeze(1)], 1)
        log_prob, entropy = self._judge(states, self.encoder(obs, self.factor_weight.dtype))
        return Evaluation(self.factors(log_prob), self.factors(entropy), self.value(obs))

    def _draw(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, J + 1, H, A) that the last J steps of a chain lead between, and their log-probabilities (B, J)."""
        std, predict, x = self.deviations(cond), self.predictor(cond), normal((len(cond), *self.chunk), cond)
        states, means = [x], list[Tensor]()
        for k in range(self.process.steps):
            means.append(self.mean(predict(states[-1], k), states[-1], k))
            states.append(means[-1] + std[:, k] * torch.randn_like(x).clamp_(-NOISE_LIMIT, NOISE_LIMIT))
        late = torch.stack(states[self.first :], 1)
        return late, self._log_prob(late, torch.stack(means[self.first :], 1), std[:, self.first :])

    def _judge(self, states: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies (B, J) of the steps between states (B, J + 1, H, A)."""
        std = self.deviations(cond)[:, self.first :]
        entropy = gaussian_element_entropy(self.likelihood_std(std)).expand(len(states), -1, *self.chunk)
        return self._log_prob(states, self.means(states[:, :-1], cond), std), self._reduced(entropy)

    def means(self, x: Tensor, cond: Tensor) -> Tensor:
        """Where the J steps lead from x (B, J, H, A) on average, by the network in one batch of J * B rows.

        That takes the memory of J * B rows. With gradients it is what one after the other takes, too, since the
        backward pass needs what the network computed for each; ``algo.micro_batch`` bounds B.
        """
        rows, steps = x.shape[:2]
        times = self.network.embed_times(*self.process.grid(cond))[self.first :]
        # A policy with frozen steps has more in cond, behind what its learning network is told.
        told = cond[:, : self.encoder.size].repeat_interleave(steps, 0)
        output = self.network(x.flatten(0, 1), times, told).unflatten(0, (rows, steps))
        return self.mean(output, x, torch.arange(self.first, self.process.steps, device=x.device))

    def _log_prob(self, states: Tensor, means: Tensor, std: Tensor) -> Tensor:
        """(B, J) of J means, and the J + 1 states that they lead between."""
        return self._reduced(self.log_density(states[:, 1:], means, std))

    def _reduced(self, x: Tensor) -> Tensor:
        return reduce_elements(x, self.config.logprob_reduction)


class JointChainPolicy(ChainPolicy):
    """The whole chain is one factor: the sum of its steps' log-probabilities, or their mean under that reduction."""

    def factors(self, steps: Tensor) -> Tensor:
        """(B, J) -> (B, 1)."""
        joint = steps.sum(-1) if self.config.logprob_reduction == "sum" else steps.mean(-1)
        return joint.unsqueeze(-1)
