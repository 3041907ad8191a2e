"""ResiP: a small Gaussian residual on a frozen policy that plans chunks (Ankile et al. 2024, arXiv 2407.16677).

The base makes P actions at once and is asked again when they are used up; the residual sees each observation and what
the base is about to do, and adds a correction. Only the residual learns, so exploration stays near the demonstrations.

Legend: B rows; P actions of the base's plan; H action chunk; A action size; C condition size; F = 1 likelihood factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from embodied.configuration import choice, positive
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..distributions import StateIndependentStd, gaussian_element_entropy, gaussian_log_density, reduce_elements
from ..networks import ACTIVATIONS, mlp
from .base import GenerativeConfig, GenerativePolicy, observation


@dataclass(frozen=True)
class ResidualConfig(GenerativeConfig):
    """base_chunk: P, a multiple of the task's chunk; None: the task's chunk.

    hidden, activation: of the residual network.  scale: of its output, in policy units.
    init_std, min_std: of the Gaussian, in policy units.
    """

    base_chunk: int | None = None
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "silu"
    scale: float = 0.1
    init_std: float = 0.05
    min_std: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", tuple(self.hidden))
        choice("policy.activation", self.activation, ACTIVATIONS)
        positive("policy.scale", self.scale)


class ResidualPolicy(GenerativePolicy):
    """encoder, network: of the frozen base, as in every generative policy.

    The memory is the plan (B, P, A) and the number (B,) of its decisions that have been used; since the trace keeps
    what the base was about to do, ``base`` (B, H, A), learning needs no memory and the policy is not recurrent.
    """

    def __init__(self, spec: TaskSpec, config: ResidualConfig | None = None) -> None:
        config = config or ResidualConfig()
        decision = spec.action.chunk
        plan = decision if config.base_chunk is None else config.base_chunk
        if plan < decision or plan % decision:
            raise ValueError(f"policy.base_chunk={plan}: must be a multiple of the task's chunk, {decision}")
        super().__init__(spec, config, plan)
        self.encoder.requires_grad_(False)
        self.network.requires_grad_(False)
        self.decision, self.scale = (decision, spec.action.size), config.scale
        size = decision * spec.action.size
        self.residual = mlp(self.encoder.size + size, config.hidden, size, config.activation, out_gain=0.01)
        self.std = StateIndependentStd(self.decision, config.init_std, config.min_std)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """No plan, none of it used."""
        zero = self.factor_weight.new_zeros
        return {"plan": zero(rows, *self.chunk), "used": zero(rows)}

    def mean(self, cond: Tensor, base: Tensor) -> Tensor:
        """Base and correction, (B, H, A), for cond (B, C) and base (B, H, A)."""
        correction = self.residual(torch.cat([cond, base.flatten(1)], -1))
        return base + self.scale * correction.unflatten(-1, self.decision)

    def follow(self, cond: Tensor, memory: dict[str, Tensor], noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the base is about to do (B, H, A), and the memory afterwards; plans anew where the plan is used up."""
        parts = self.chunk[0] // self.decision[0]
        fresh = self.chain(cond, noise)[-1]
        plan = torch.where((memory["used"] == 0).view(-1, 1, 1), fresh, memory["plan"])
        rows = torch.arange(plan.shape[0], device=plan.device)
        base = plan.unflatten(1, (parts, -1))[rows, memory["used"].long()]
        return base, {"plan": plan, "used": torch.remainder(memory["used"] + 1, parts)}

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely ones."""
        cond = self.condition(obs)
        noise = self.draw_noise(cond, deterministic)
        with torch.no_grad():
            base, after = self.follow(cond, memory or self.initial_memory(cond.shape[0]), noise)
        mean = self.mean(cond, base)
        action = mean if deterministic else mean + self.std() * torch.randn_like(mean)
        return Decision(action, self._log_prob(action, mean), self.value(obs), {"base": base}, after)

    def _log_prob(self, action: Tensor, mean: Tensor) -> Tensor:
        """(B, 1)."""
        density = gaussian_log_density(action, mean, self.std())
        return reduce_elements(density, self.config.logprob_reduction).unsqueeze(-1)

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of actions (B, H, A) beside what the base did."""
        log_prob = self._log_prob(action, self.mean(self.condition(obs), trace["base"]))
        entropy = reduce_elements(gaussian_element_entropy(self.std()), self.config.logprob_reduction)
        return Evaluation(log_prob, entropy.expand_as(log_prob), self.value(obs))

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Refused: the base is frozen."""
        raise ValueError("the base of policy.kind=residual is frozen: pretrain another kind of the same network")

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Tensor | None = None) -> Tensor:
        """The first decision (B, H, A) of a new plan; the others need ``act`` and its memory."""
        cond = self.condition(observation(obs_policy, image))
        return self.mean(cond, self.chain(cond, noise)[-1][:, : self.decision[0]])

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return {"std": self.std().mean().item()}
