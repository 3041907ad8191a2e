"""Flow-SDE: noise that leaves the flow's marginals as they are (Liu et al. 2025, Flow-GRPO; pi_RL, Chen et al. 2025).

The flow dx = v dt has the same marginals as dx = (v + g^2/2 score) dt + g dW for any g(t). On the straight way
``x_t = t action + (1 - t) noise`` the score is ``-(x - t v) / (1 - t)``, and with ``g^2 = a^2 (1 - t) / t`` the drift
is ``v - a^2 / (2 t) (x - t v)``. At t = 0, where g is infinite, the first step uses t = 1/K in its place.

Either all K steps explore, or one that is drawn for each decision, while the others follow the flow (pi_RL, hybrid
ODE-SDE sampling; MixGRPO, Li et al. 2025, arXiv 2507.21802). The likelihood is then that of this step alone: what the
flow makes of its outcome counts as part of the environment, and an update evaluates the network once a decision, not
K times.

Legend: B rows; K sampling steps; H action chunk; A action size; C condition size; F = 1 likelihood factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from embodied.configuration import choice, positive
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..distributions import gaussian_element_entropy
from .base import GenerativeConfig
from .chain import NOISE_LIMIT, JointChainPolicy
from .flow import RectifiedFlow
from .process import Step, at, clipped, normal, rows_like

RANDOM_STEPS = ("all", "one")


@dataclass(frozen=True)
class FlowSDEConfig(GenerativeConfig):
    """process: flow, shortcut or mean_flow.  noise_level: a.

    random_steps: ``all`` steps of a decision explore, or ``one`` of them, each as likely.
    """

    process: str = "flow"
    logprob_reduction: str = "mean"
    noise_level: float = 0.3
    random_steps: str = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("policy.process", self.process, ("flow", "shortcut", "mean_flow"))
        choice("policy.random_steps", self.random_steps, RANDOM_STEPS)
        positive("policy.noise_level", self.noise_level)


def sde_pull(k: int, steps: int, level: float) -> float:
    """``a^2 / (2 t)`` at step k."""
    return level**2 * steps / (2 * max(k, 1))


def sde_std(k: int, steps: int, level: float) -> float:
    """The standard deviation of the Euler-Maruyama step from time k/K."""
    return level * math.sqrt((1 - k / steps) / max(k, 1))


def sde_mean(x: Tensor, velocity: Tensor, t: float | Tensor, pull: float | Tensor, steps: int) -> Tensor:
    """Its mean (B, H, A), from time t, velocity (B, H, A) given."""
    return x + (velocity - pull * (x - t * velocity)) / steps


class FlowSDEPolicy(JointChainPolicy):
    """The joint log-probability of the steps that explore; evaluation follows the flow without noise.

    With one random step the trace holds ``step`` (B,), which it is, and ``chain`` (B, 2, H, A), the states before and
    after it.
    """

    config: FlowSDEConfig

    def __init__(self, spec: TaskSpec, config: FlowSDEConfig | None = None) -> None:
        super().__init__(spec, config or FlowSDEConfig())
        self.flow = cast(RectifiedFlow, self.process)
        steps, level = self.flow.steps, self.config.noise_level
        self.starts = tuple(k / steps for k in range(steps))
        self.pulls = tuple(sde_pull(k, steps, level) for k in range(steps))
        self.stds = tuple(sde_std(k, steps, level) for k in range(steps))

    def mean(self, output: Tensor, x: Tensor, k: Step) -> Tensor:
        """Mean (B, H, A) of the stochastic step with the flow's marginals, by the velocity (B, H, A)."""
        t, pull = at(self.starts, k, x), at(self.pulls, k, x)
        return clipped(sde_mean(x, output, t, pull, self.flow.steps), self.flow.clip)

    def deviations(self, cond: Tensor) -> Tensor:
        """(1, K, 1, 1)."""
        return cond.new_tensor(self.stds).view(1, -1, 1, 1)

    # One random step --------------------------------------------------------------------------------------------

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or follow the flow; its first step then stands for the random one."""
        if self.config.random_steps == "all":
            return super().act(obs, memory, deterministic)
        cond = self.condition(obs)
        step = torch.zeros(len(cond), dtype=torch.long, device=cond.device)
        if not deterministic:
            step = torch.randint_like(step, self.flow.steps)
        states = self.chain(cond, self.draw_noise(cond, deterministic)) if deterministic else self._draw_one(cond, step)
        rows, every = torch.arange(len(cond), device=cond.device), torch.stack(states, 1)
        around = torch.stack([every[rows, step], every[rows, step + 1]], 1)
        log_prob = self._judge_one(around, step, cond)[0]
        return Decision(states[-1], log_prob, self.value(obs), {"chain": around, "step": step})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of chains that led to actions (B, H, A)."""
        if self.config.random_steps == "all":
            return super().evaluate_actions(obs, action, trace)
        log_prob, entropy = self._judge_one(trace["chain"], trace["step"], self.condition(obs))
        return Evaluation(log_prob, entropy, self.value(obs))

    def _draw_one(self, cond: Tensor, step: Tensor) -> list[Tensor]:
        """x_0 .. x_K (B, H, A) of a chain that explores at steps (B,)."""
        predict, states = self.predictor(cond), [normal((len(cond), *self.chunk), cond)]
        for k, std in enumerate(self.stds):
            x = states[-1]
            output = predict(x, k)
            drawn = self.mean(output, x, k) + std * torch.randn_like(x).clamp_(-NOISE_LIMIT, NOISE_LIMIT)
            states.append(torch.where(rows_like(step == k, x), drawn, self.flow.mean(output, x, k)))
        return states

    def _judge_one(self, around: Tensor, step: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy (B, 1) of the steps (B,) that lead between states (B, 2, H, A)."""
        before, after = around.unbind(1)
        times = self.network.embed_times(*self.process.grid(cond)).index_select(0, step)
        mean = self.mean(self.network(before, times, cond), before, step)
        std = rows_like(cond.new_tensor(self.stds)[step], before)
        figures = self.log_density(after, mean, std), gaussian_element_entropy(std).expand_as(before)
        log_prob, entropy = (self._reduced(x).unsqueeze(1) for x in figures)
        return log_prob, entropy
