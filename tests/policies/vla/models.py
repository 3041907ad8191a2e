"""A task that is seen and told, small policies of every kind, and their observations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import policies
from embodied.text import encode_text
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec

WORDS = ("put", "the", "red", "blue", "cube", "on", "plate", "please")
TEXTS = ("put the red cube on the plate", "please put the blue cube on the plate", "the red plate", "")
LENGTH = 60
CHUNK = (2, 3)
TINY: dict[str, Any] = {"width": 16, "blocks": 2, "heads": 2, "max_words": 12, "unknown_words": 3}
KINDS: dict[str, dict[str, Any]] = {
    "parallel": {"kind": "compact_vla", "bins": 5},
    "parallel-separate": {"kind": "compact_vla", "bins": 5, "critic": "separate", "critic_hidden": [8]},
    "parallel-token": {"kind": "compact_vla", "bins": 4, "likelihood": "token", "temperature": 1.6},
    "autoregressive": {"kind": "compact_vla", "bins": 5, "decoding": "autoregressive", "likelihood": "token"},
    "autoregressive-chunk": {
        "kind": "compact_vla",
        "bins": 5,
        "decoding": "autoregressive",
        "likelihood": "chunk",
        "critic": "separate",
    },
}
FLOW: dict[str, Any] = {
    "encoder": "vla",
    "mlp": {"hidden": [16], "time_size": 4},
    "critic_hidden": [8],
    "flow": {"steps": 2},
    "diffusion": {"train_steps": 2},
}


def seeing(side: int = 16, chunk: int = CHUNK[0], **groups: ObsGroup) -> TaskSpec:
    """A task with measurements (5), an image, an instruction, privileged measurements (7) and 3 actions."""
    told = ObsTerm("instruction", LENGTH, parameters={"words": list(WORDS)})
    obs = {
        "policy": ObsGroup.of(ObsTerm("x", 5)),
        "critic": ObsGroup.of(ObsTerm("y", 7)),
        "image": ObsGroup(shape=(side, side, 3), dtype="uint8", normalize=False),
        "instruction": ObsGroup(terms=(told,), shape=(LENGTH,), dtype="uint8", normalize=False),
    }
    action = ActionSpec(("a", "b", "c"), low=-1.0, high=1.0, chunk=chunk)
    return TaskSpec("seeing", 0.1, 10, obs | groups, action)


def observations(rows: int, side: int = 16) -> dict[str, Tensor]:
    """Random ones; the instructions take turns."""
    return {
        "policy": torch.randn(rows, 5),
        "critic": torch.randn(rows, 7),
        "image": torch.randint(0, 256, (rows, side, side, 3), dtype=torch.uint8),
        "instruction": encode_text([TEXTS[i % len(TEXTS)] for i in range(rows)], LENGTH),
    }


def disturb(policy: Any, size: float = 0.1) -> Any:
    """Away from the initial weights, at which all tokens are equally likely."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return policy


def small(name: str, spec: TaskSpec | None = None, **more: Any) -> Any:
    """A small token policy of KINDS, disturbed."""
    return disturb(policies.make({"trunk": TINY} | KINDS[name] | more, spec or seeing()))


def small_flow(kind: str, spec: TaskSpec | None = None, **more: Any) -> Any:
    """A small flow or diffusion policy with the trunk as its encoder, disturbed."""
    return disturb(policies.make({"kind": kind, "trunk": TINY} | FLOW | more, spec or seeing()))
