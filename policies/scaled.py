"""A policy that works in normalised actions, seen from outside in the task's: ``action = centre + width * normalised``.

For tasks whose actions are unbounded or of very different sizes: a denoiser's noise is standard normal and its clean
chunk is held within +-1. The constants come from demonstrations, lie in the checkpoint, and go into the exported model.

Likelihoods are those of the normalised action: the map does not depend on the weights, so its Jacobian cancels in
every ratio and shifts log-probability and entropy by a constant.

Legend: B rows; H action chunk; A action size; D noise tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodied.types import Decision, Evaluation, Obs


class ScaledPolicy(nn.Module):
    """Any policy of the suite with its actions scaled; whatever else is asked of it is the policy's.

    centre, width: (A,) each; width above 0.
    """

    policy: Any
    centre: Tensor
    width: Tensor

    def __init__(self, policy: nn.Module, centre: Sequence[float], width: Sequence[float], size: int) -> None:
        super().__init__()
        if not len(centre) == len(width) == size:
            raise ValueError(f"policy.action_scaling: {len(centre)} centres, {len(width)} widths for {size} actions")
        if min(width) <= 0:
            raise ValueError(f"policy.action_scaling.width={list(width)}: must be numbers above 0")
        self.policy = policy
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("width", torch.tensor(width, dtype=torch.float32))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("policy"), name)

    def unscaled(self, action: Tensor) -> Tensor:
        """Normalised actions (B, H, A) from those of the task."""
        return (action - self.centre) / self.width

    def scaled(self, action: Tensor) -> Tensor:
        """Actions of the task (B, H, A) from normalised ones."""
        return self.centre + self.width * action

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """See :class:`embodied.types.Policy`."""
        decision = self.policy.act(obs, memory, deterministic)
        return dataclasses.replace(decision, action=self.scaled(decision.action))

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """See :class:`embodied.types.Policy`."""
        return self.policy.evaluate_actions(obs, self.unscaled(action), trace)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """See :class:`embodied.types.Policy`."""
        return self.policy.initial_memory(rows)

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """See :class:`embodied.types.Policy`."""
        return self.policy.value(obs, memory)

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What the policy gradient trains."""
        return self.policy.actor_parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What the value loss trains."""
        return self.policy.critic_parameters()

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """(B,): the policy's own, of normalised actions, so that elements of all sizes count alike."""
        return self.policy.imitation_loss(obs, self.unscaled(action))

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Tensor | None = None) -> Tensor:
        """The deterministic decision (B, H, A); noise: (B, D, H, A)."""
        return self.scaled(self.policy.export_forward(obs_policy, noise, image))

    @property
    def input_weights(self) -> dict[str, str]:
        """The policy's own; empty where it does not tell them."""
        return {f"policy.{name}": group for name, group in getattr(self.policy, "input_weights", {}).items()}

    @property
    def of_critic_terms(self) -> tuple[str, ...]:
        """The policy's own."""
        return tuple(f"policy.{name}" for name in getattr(self.policy, "of_critic_terms", ()))

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take a scaled policy's weights and constants.

        Raises:
            ValueError: they are those of a policy without scaling, or of another shape.
        """
        if "centre" not in state or state["centre"].shape != self.centre.shape:
            raise ValueError(f"these weights do not fit: they have no action scaling of {len(self.centre)} elements")
        self.policy.load_pretrained({k.removeprefix("policy."): x for k, x in state.items() if k.startswith("policy.")})
        self.centre.copy_(state["centre"])
        self.width.copy_(state["width"])
