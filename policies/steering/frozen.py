"""The frozen policy that is steered: from an observation and noise to a chunk of actions.

Legend: B rows; D noise tensors of one decision, the first of which is where sampling starts; H action chunk;
A action size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from embodied.types import Obs, TaskSpec


class FrozenPolicy(Protocol):
    """A generative policy, deterministic given its noise; every one of ``policies.generative`` is one."""

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """(D, H, A)."""

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Tensor | None = None) -> Tensor:
        """Actions (B, H, A) in policy units for measurements (B, ...) and standard normal noise (B, D, H, A)."""


def check_generative(policy: Any) -> None:
    """Raise ValueError unless what the policy does is a function of noise."""
    if not (hasattr(policy, "noise_shape") and hasattr(policy, "export_forward")):
        raise ValueError(
            f"{type(policy).__name__} takes no noise and cannot be steered; policies that can: dppo, flow_sde, fpo, "
            "ncdpo, reinflow"
        )


def check_chunk(base: FrozenPolicy, spec: TaskSpec) -> None:
    """Raise ValueError unless the policy's chunks are the task's decisions."""
    expected = spec.action.chunk, spec.action.size
    if tuple(base.noise_shape[1:]) != expected:
        raise ValueError(
            f"the frozen policy makes chunks of shape {tuple(base.noise_shape[1:])}, task {spec.name!r} takes "
            f"{expected}: set task.chunk to what it was trained with"
        )


def check_one_draw(base: FrozenPolicy) -> None:
    """Raise ValueError unless the policy draws noise once a decision, where its sampling starts."""
    if base.noise_shape[0] != 1:
        raise ValueError(
            f"the frozen policy draws {base.noise_shape[0]} noise tensors a decision; DSRL steers one: sample it "
            "deterministically (a flow, or a diffusion with policy.base.diffusion.eta=0)"
        )


@torch.no_grad()
def act(base: FrozenPolicy, obs: Obs, noise: Tensor) -> Tensor:
    """Actions (B, H, A) for observations as the policy was trained on them, and noise (B, D, H, A)."""
    if "image" in obs:
        return base.export_forward(obs["policy"], noise, obs["image"])
    return base.export_forward(obs["policy"], noise)
