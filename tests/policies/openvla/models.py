"""Small OpenVLA policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from embodied.configuration import from_mapping
from embodied.types import TaskSpec
from policies.openvla.policy import OpenVLAConfig, OpenVLAPolicy

from ..vla.models import seeing
from .published import SIDE

LORA: dict[str, Any] = {"rank": 4, "alpha": 8.0, "parts": ["vision", "projector", "language", "head"]}
SMALL: dict[str, Any] = {"dtype": "float32", "critic_hidden": [8], "lora": LORA}


def made(weights: Path, spec: TaskSpec | None = None, **more: Any) -> OpenVLAPolicy:
    """A policy with adapters, as its configuration makes it."""
    config = from_mapping(OpenVLAConfig, {"checkpoint": str(weights)} | SMALL | more, "policy")
    return OpenVLAPolicy(spec or seeing(SIDE), config)


def plain(weights: Path, spec: TaskSpec | None = None, **more: Any) -> OpenVLAPolicy:
    """Without adapters; everything learns."""
    return made(weights, spec, lora=LORA | {"rank": 0}, **more)


def disturbed(policy: OpenVLAPolicy, size: float = 0.1) -> OpenVLAPolicy:
    """What learns is away from its start, at which adapters do nothing."""
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn_like(parameter))
    return policy
