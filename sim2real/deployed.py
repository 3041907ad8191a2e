"""What goes into the ONNX file: normaliser, policy and action scaling as one module of plain tensors.

Legend: B rows, n observation size, A action size.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodied.types import Policy, TaskSpec

from . import manifest as m
from .recording import Recording
from .rollout import Normalizer, forget

MODEL_FILE = "policy.onnx"
OPSET = 20


class DeployedPolicy(nn.Module):
    """(obs (B, n), *memory) -> (command (B, A), action (B, A), *memory), deterministic, on the CPU.

    command: in the action's unit.  action: the policy's output after the action's own clip; the observation's
    previous-action term is made of it.

    policy, normalizer: are copied; ``policy.act(normalizer(obs), memory, deterministic=True)`` is what this computes.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, policy: Policy, normalizer: Normalizer, spec: TaskSpec) -> None:
        super().__init__()
        self.policy: Any = _on_cpu(policy)
        self.normalizer: Any = _on_cpu(normalizer)
        self.contract = m.contract_of(spec, _describe(self.policy, spec))
        self.memory_names = sorted(self.policy.initial_memory(1))
        self._others = {name: group.shape for name, group in spec.obs.items() if name != m.POLICY_GROUP}
        action = self.contract.action
        self._low, self._high = action.low, action.high
        self._command_low, self._command_high = _row(action.command_low), _row(action.command_high)
        self.register_buffer("offset", torch.tensor(action.offset), persistent=False)
        self.register_buffer("scale", torch.tensor(action.scale), persistent=False)

    def forward(self, obs: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        # The critic's groups are unknown on a robot; the value they would give is not an output, so the export
        # drops it together with the critic's weights.
        others = {name: obs.new_zeros(obs.shape[0], *shape) for name, shape in self._others.items()}
        seen = self.normalizer({m.POLICY_GROUP: obs, **others})
        state = dict(zip(self.memory_names, memory, strict=True))
        decision = self.policy.act(seen, state, deterministic=True)
        action = _clip(decision.action[:, 0], self._low, self._high)
        command = _clip(self.offset + self.scale * action, self._command_low, self._command_high)
        return command, action, *(decision.memory[name] for name in self.memory_names)

    @torch.no_grad()
    def replay(self, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
        """command and action, (T, R, A) each, along a recording."""
        memory = self.policy.initial_memory(recording.obs.shape[1])
        commands, actions = [], []
        for obs, start in zip(recording.obs, recording.start, strict=True):
            memory = forget(self.policy, memory, torch.tensor(start))
            command, action, *after = self(torch.tensor(obs), *(memory[name] for name in self.memory_names))
            memory = dict(zip(self.memory_names, after, strict=True))
            commands.append(command.numpy())
            actions.append(action.numpy())
        return np.stack(commands), np.stack(actions)


def _describe(policy: Policy, spec: TaskSpec) -> m.Model:
    """Names and shapes of the network's inputs and outputs."""
    memory = policy.initial_memory(1)
    if any(bool(value.any()) for value in memory.values()):
        raise ValueError("this policy's memory does not start at zero; a bundle promises that it does")
    states = tuple(m.MemoryInfo(f"{k}_in", f"{k}_out", tuple(memory[k].shape[1:])) for k in sorted(memory))
    group = spec.obs.get(m.POLICY_GROUP)
    size, actions = sum(term.size for term in group.terms) if group else 0, spec.action.size

    def tensor(name: str, *shape: int) -> m.TensorInfo:
        return m.TensorInfo(name, ("batch", *shape), "float32")

    inputs = (tensor("obs", size), *(tensor(s.input, *s.shape) for s in states))
    outputs = (tensor("command", actions), tensor("action", actions), *(tensor(s.output, *s.shape) for s in states))
    return m.Model(MODEL_FILE, OPSET, inputs, outputs, states)


def _on_cpu(part: Any) -> Any:
    """A copy in evaluation mode; a normaliser may also be a plain function."""
    part = copy.deepcopy(part)
    return part.cpu().eval() if isinstance(part, nn.Module) else part


def _row(values: tuple[float, ...] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values)


def _clip(x: Tensor, low: Any, high: Any) -> Tensor:
    """x held between low and high, either of which may be None."""
    return x if low is None and high is None else torch.clamp(x, low, high)
