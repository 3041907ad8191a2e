"""Trained policies, rebuilt from a checkpoint or behind a policy server's address."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import policies
from embodied import checkpoint as checkpoints
from embodied.normalize import ObsNormalizer

from .common import Agent, resolve_checkpoint, user_errors
from .remote import is_remote, remote_agent


def load_agent(checkpoint: str | Path, device: str | torch.device = "cpu") -> Agent:
    """Rebuild a trained policy and its normaliser, in evaluation mode.

    Args:
        checkpoint: see :func:`resolve_checkpoint`; or the address of a policy server, see :mod:`scripts.remote`.

    Raises:
        UserError: no such checkpoint, or a broken one.
    """
    if is_remote(str(checkpoint)):
        return remote_agent(str(checkpoint))
    with user_errors():
        found = checkpoints.load(resolve_checkpoint(checkpoint))
        policy = policies.make(found.config["policy"], found.spec)
        normalizer = None
        if any(key.startswith("normalizer.") for key in found.model):
            symmetric = found.config.get("algo", {}).get("symmetry", "none") != "none"
            normalizer = ObsNormalizer.of(found.spec, symmetric)
        checkpoints.load_model(found, cast(nn.Module, policy), normalizer)
    for module in (policy, normalizer):
        if module is not None:
            cast(nn.Module, module).to(device).eval()
    return Agent(policy, normalizer, found.spec, found.config)


def read_config(checkpoint: str | Path) -> dict[str, Any]:
    """The configuration of the run that a checkpoint comes from, or of what a policy server acts in."""
    if is_remote(str(checkpoint)):
        return load_agent(checkpoint).config
    with user_errors():
        return checkpoints.load(resolve_checkpoint(checkpoint)).config
