"""Small pi0 policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from embodied.configuration import from_mapping
from embodied.types import TaskSpec
from policies.pi0.policy import Pi0NoiseConfig, Pi0NoisePolicy, Pi0SDEConfig, Pi0SDEPolicy

from ..vla.models import seeing
from .published import SIDE

RULES: dict[str, tuple[Any, Any]] = {
    "flow_noise": (Pi0NoisePolicy, Pi0NoiseConfig),
    "flow_sde": (Pi0SDEPolicy, Pi0SDEConfig),
}
LORA: dict[str, Any] = {"rank": 4, "alpha": 8.0, "parts": ["vision", "projector", "language", "expert"]}
SMALL: dict[str, Any] = {"dtype": "float32", "critic_hidden": [8], "max_tokens": 50, "flow": {"steps": 3}}


def made(weights: Path, rule: str = "flow_noise", spec: TaskSpec | None = None, **more: Any) -> Any:
    """A policy as its configuration makes it."""
    policy, config = RULES[rule]
    return policy(spec or seeing(SIDE), from_mapping(config, {"checkpoint": str(weights)} | SMALL | more, "policy"))


def disturbed(policy: Any, size: float = 0.05) -> Any:
    """What learns is away from its start."""
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn_like(parameter))
    return policy
