"""The gradient of a minibatch, as one compiled function where that is asked for."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .losses import Loss, ppo_loss
from .ppo_config import PPOConfig
from .rollout import Batch
from .types import Evaluation, Policy


class CompileError(RuntimeError):
    """A policy's gradient cannot be compiled."""


class Gradient:
    """Adds the gradient of PPO's loss to those of a policy's parameters.

    With ``config.compile`` policy, loss and derivative are traced into one function (``torch.compile``), which small
    networks and minibatches gain most from: what they cost is the calls. The first call takes some seconds.

    Raises:
        ValueError: what compiles is missing; the message names it.
    """

    def __init__(self, policy: Policy, config: PPOConfig, parameters: Sequence[nn.Parameter]) -> None:
        self.policy, self.config, self.parameters = policy, config, list(parameters)
        self._compiled: Callable[..., Tensor] | None = None
        if config.compile:
            check_compiler(config, self.parameters[0].device)
            torch._dynamo.config.trace_autograd_ops = True
            self._compiled = torch.compile(self._traced, fullgraph=True)

    def add(self, batch: Batch, weight: float | Tensor = 1.0) -> Tensor:
        """Add ``weight`` times the gradient; the loss's parts (6,) times weight (see ``losses.Loss``).

        Raises:
            CompileError: the policy cannot be compiled; the message says why.
        """
        if self._compiled is None:
            evaluation, loss = self._judged(batch)
            loss.backward(evaluation, weight)
            return loss.parts * weight
        weight = torch.as_tensor(weight, dtype=batch.value.dtype, device=batch.value.device)
        try:
            return self._compiled(batch, weight, [parameter.grad for parameter in self.parameters])
        except torch._dynamo.exc.TorchDynamoException as error:
            why = str(error).strip().splitlines()[0]
            raise CompileError(f"algo.compile=true: this policy cannot be compiled here: {why}") from error

    def _judged(self, batch: Batch) -> tuple[Evaluation, Loss]:
        evaluation = self.policy.evaluate_actions(batch.obs, batch.action, batch.trace)
        return evaluation, ppo_loss(evaluation, batch, self.config, self.policy.factor_weight, self.policy.factor_clip)

    def _traced(self, batch: Batch, weight: Tensor, places: list[Tensor]) -> Tensor:
        evaluation, loss = self._judged(batch)
        ends, slopes = loss.ends(evaluation, weight)
        found = torch.autograd.grad(ends, self.parameters, slopes, allow_unused=True)
        used = [(place, gradient) for place, gradient in zip(places, found, strict=True) if gradient is not None]
        with torch.no_grad():
            torch._foreach_add_([place for place, _ in used], [gradient for _, gradient in used])
        return loss.parts * weight


def check_compiler(config: PPOConfig, device: torch.device) -> None:
    """Raise ValueError, naming what is missing, if the gradient is to be compiled and cannot be here."""
    missing = missing_compiler(device) if config.compile else None
    if missing:
        raise ValueError(f"algo.compile=true: {missing}")


def missing_compiler(device: torch.device) -> str | None:
    """What ``torch.compile`` lacks here, and how to mend it; None if nothing that this can see."""
    if not hasattr(torch._dynamo.config, "trace_autograd_ops"):
        return f"torch {torch.__version__} cannot trace a gradient; 2.13 can"
    if device.type != "cpu":
        return None
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        return f"there is no C++ compiler {name!r}: install one (apt install g++), or name yours in CXX"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "Python's headers are missing: install them (apt install python3-dev)"
    return None
