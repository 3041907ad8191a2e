"""NCDPO: a noise-conditioned deterministic policy, optimised through all denoising steps (arXiv 2505.10482).

All noise of a decision is drawn once and kept. Given it, the denoised chunk f(s, z) is a deterministic function, and
the policy is a simple distribution around it: N(f, diag std^2), or softmax of f. The noise's density does not depend on
the parameters, so it counts as part of the state, and PPO is as for any Gaussian policy; the gradient goes through all
K steps. Reconstructed from the abstract: neither the paper's body nor code was at hand. Any process will do.

Legend: B rows; K sampling steps; D noise tensors; H action chunk; A action size; F = 1 likelihood factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from embodied.configuration import choice
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from .base import GenerativeConfig, GenerativePolicy, observation
from .heads import GaussianHead, SoftmaxHead
from .process import Predict

HEADS = ("gaussian", "softmax")


@dataclass(frozen=True)
class NCDPOConfig(GenerativeConfig):
    """head: ``gaussian``, or ``softmax`` for one-hot choices.  init_std, min_std: of the Gaussian, in policy units.

    initial_noise_scale: standard deviation of the noise that denoising starts from; below 1 the output varies less.
    checkpoint_steps: recompute each step in the backward pass; memory then does not grow with the network's depth
        times K, for about a third more time.
    """

    head: str = "gaussian"
    init_std: float = 0.3
    min_std: float = 0.0
    initial_noise_scale: float = 1.0
    checkpoint_steps: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("policy.head", self.head, HEADS)
        if self.initial_noise_scale < 0:
            raise ValueError(f"policy.initial_noise_scale={self.initial_noise_scale}: must not be negative")


class NCDPOPolicy(GenerativePolicy):
    """The trace holds the noise (B, D, H, A)."""

    def __init__(self, spec: TaskSpec, config: NCDPOConfig | None = None) -> None:
        config = config or NCDPOConfig()
        super().__init__(spec, config)
        self.noise_scale, self.checkpoint_steps = config.initial_noise_scale, config.checkpoint_steps
        self.head = (
            GaussianHead(self.chunk, config.init_std, config.min_std, config.logprob_reduction)
            if config.head == "gaussian"
            else SoftmaxHead(self.chunk, config.logprob_reduction)
        )

    def chain(self, cond: Tensor, noise: Tensor) -> list[Tensor]:
        """x_0 .. x_K (B, H, A), differentiable through every step."""
        return super().chain(cond, torch.cat([self.noise_scale * noise[:, :1], noise[:, 1:]], 1))

    def predictor(self, cond: Tensor) -> Predict:
        """The network along a chain, for cond (B, C); recomputed in the backward pass if ``checkpoint_steps``."""
        predict = super().predictor(cond)
        if not (self.checkpoint_steps and torch.is_grad_enabled()):
            return predict
        return lambda x, k: cast(Tensor, checkpoint(predict, x, k, use_reentrant=False))

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely ones given the noise."""
        cond = self.condition(obs)
        noise = self.draw_noise(cond, deterministic)
        f = self.chain(cond, noise)[-1]
        action = self.head.mode(f) if deterministic else self.head.draw(f)
        return Decision(action, self.head.log_prob(f, action).unsqueeze(-1), self.value(obs), {"noise": noise})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of actions (B, H, A) given the noise that they were drawn with."""
        f = self.chain(self.condition(obs), trace["noise"])[-1]
        log_prob, entropy = self.head.log_prob(f, action), self.head.entropy(f)
        return Evaluation(log_prob.unsqueeze(-1), entropy.unsqueeze(-1), self.value(obs))

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Tensor | None = None) -> Tensor:
        """The most likely action (B, H, A) given the noise (B, D, H, A)."""
        return self.head.mode(self.chain(self.condition(observation(obs_policy, image)), noise)[-1])

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return self.head.diagnostics()
