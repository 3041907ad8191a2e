"""What goes into the ONNX file: normaliser, policy and action scaling as one module of plain tensors.

Legend: B rows; L observations of a history; n size of one; D noise tensors; H action chunk; A action size.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodied.types import Obs, Policy, TaskSpec

from . import contract as c
from .recording import Recording
from .rollout import Normalizer, forget

MODEL_FILE = "policy.onnx"
OPSET = 20
NOISE = "noise"


class DeployedPolicy(nn.Module):
    """(obs (B, L, n), [noise (B, D, H, A)], *memory) -> (command (B, H, A), action (B, H, A), *memory), on the CPU.

    command: in the action's unit.  action: the policy's output after the action's own clip; the observation's
    previous-action term is made of it.  noise: where the policy's ``draw_noise`` would draw, of this shape.

    policy, normalizer: are copied; ``policy.act(normalizer(obs), memory, deterministic=True)`` is what this computes.
    A generative policy calls ``draw_noise`` even then. Here that noise is an input, and what ``draw_noise`` hands out
    for deterministic decisions, zeros or standard normal numbers, is its scale in the contract.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, policy: Policy, normalizer: Normalizer, spec: TaskSpec) -> None:
        super().__init__()
        self.policy: Any = _on_cpu(policy)
        self.normalizer: Any = _on_cpu(normalizer)
        self._drawing = _drawing(self.policy)
        self.contract = c.contract_of(spec, _describe(self.policy, spec, self._drawing))
        self.memory_names = sorted(self.policy.initial_memory(1))
        self._others = {name: group.shape for name, group in spec.obs.items() if name != c.POLICY_GROUP}
        self._obs_shape = spec.obs[c.POLICY_GROUP].shape
        action = self.contract.action
        self._low, self._high = action.low, action.high
        self._command_low, self._command_high = _row(action.command_low), _row(action.command_high)
        self.register_buffer("offset", torch.tensor(action.offset), persistent=False)
        self.register_buffer("scale", torch.tensor(action.scale), persistent=False)

    def forward(self, obs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        noise, memory = others[: len(others) - len(self.memory_names)], others[len(others) - len(self.memory_names) :]
        # The critic's groups are unknown on a robot; the value they would give is not an output, so the export
        # drops it together with the critic's weights.
        unknown = {name: obs.new_zeros(obs.shape[0], *shape) for name, shape in self._others.items()}
        seen = self.normalizer({c.POLICY_GROUP: obs.reshape(obs.shape[0], *self._obs_shape), **unknown})
        state = dict(zip(self.memory_names, memory, strict=True))
        action, state = self._decide(seen, noise, state)
        action = _clip(action, self._low, self._high)
        command = _clip(self.offset + self.scale * action, self._command_low, self._command_high)
        return command, action, *(state[name] for name in self.memory_names)

    def _decide(
        self, seen: Obs, noise: tuple[Tensor, ...], memory: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The policy's deterministic action (B, H, A), and its memory afterwards."""
        if noise and not memory:  # the same without the likelihood of the chain, which no graph has to hold
            return self.policy.export_forward(seen[c.POLICY_GROUP], *noise), memory
        with _given(self._drawing, *noise):
            decision = self.policy.act(seen, memory, deterministic=True)
        return decision.action, decision.memory

    def inputs(self, recording: Recording) -> Recording:
        """The recording as this policy is compared on it: with noise if it takes some; row by row, or all decisions as
        an episode's first if it has no memory.
        """
        recording, noise = recording if self.memory_names else recording.flat(), self.contract.model.noise
        return recording if noise is None else recording.with_noise(noise.shape)

    @torch.no_grad()
    def replay(self, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
        """command and action, (T, R, H, A) each, along a recording."""
        memory, dtype = self.policy.initial_memory(recording.start.shape[1]), self.offset.dtype
        commands, actions = [], []
        for step, (obs, start) in enumerate(zip(recording.obs, recording.start, strict=True)):
            memory = forget(self.policy, memory, torch.tensor(start))
            noise = () if recording.noise is None else (torch.tensor(recording.noise[step], dtype=dtype),)
            given = (memory[name] for name in self.memory_names)
            command, action, *after = self(torch.tensor(obs, dtype=dtype), *noise, *given)
            memory = dict(zip(self.memory_names, after, strict=True))
            commands.append(command.numpy())
            actions.append(action.numpy())
        return np.stack(commands), np.stack(actions)

    def rounding(self, recording: Recording) -> float:
        """What float32 costs a policy that takes noise: the largest difference from its actions in float64.

        A diffusion that predicts the noise divides it by the signal's share, so that rounding grows: with a cosine
        schedule of 20 steps 30-fold in the first step alone.
        """
        exact = copy.deepcopy(self).double()
        return float(np.abs(self.replay(recording)[1] - exact.replay(recording)[1]).max())


def _describe(policy: Policy, spec: TaskSpec, drawing: Any) -> c.Model:
    """Names and shapes of the network's inputs and outputs."""
    memory = policy.initial_memory(1)
    if any(bool(value.any()) for value in memory.values()):
        raise ValueError("this policy's memory does not start at zero; a bundle promises that it does")
    states = tuple(c.MemoryInfo(f"{k}_in", f"{k}_out", tuple(memory[k].shape[1:])) for k in sorted(memory))
    noise = None if drawing is None else c.NoiseInfo(NOISE, tuple(drawing.noise_shape), c.NORMAL, _scale(drawing))
    group = spec.obs.get(c.POLICY_GROUP)
    history, size = (c.history_of(group), sum(term.size for term in group.terms)) if group else (1, 0)
    decision = spec.action.chunk, spec.action.size

    def tensor(name: str, *shape: int) -> c.TensorInfo:
        return c.TensorInfo(name, (c.BATCH, *shape), "float32")

    drawn = () if noise is None else (tensor(NOISE, *noise.shape),)
    inputs = (tensor("obs", history, size), *drawn, *(tensor(s.input, *s.shape) for s in states))
    outputs = (tensor("command", *decision), tensor("action", *decision), *(tensor(s.output, *s.shape) for s in states))
    return c.Model(MODEL_FILE, OPSET, inputs, outputs, noise, states)


def _drawing(policy: nn.Module) -> Any:
    """The part of a policy that draws noise for its deterministic decisions, inside whatever wraps it; or None."""
    return next((part for part in policy.modules() if hasattr(type(part), "draw_noise")), None)


def _scale(drawing: Any) -> float:
    """The deviation of what it draws for a deterministic decision: 0 or 1."""
    with torch.random.fork_rng([]):
        return float(drawing.draw_noise(torch.zeros(1, 1), deterministic=True).any())


@contextlib.contextmanager
def _given(drawing: Any, *noise: Tensor) -> Iterator[None]:
    """Noise (B, D, H, A), if any, in place of what ``drawing`` would draw."""
    if drawing is None:
        yield
        return
    drawing.draw_noise = lambda cond, deterministic=False: noise[0]
    try:
        yield
    finally:
        del drawing.draw_noise


def _on_cpu(part: Any) -> Any:
    """A copy in evaluation mode; a normaliser may also be a plain function."""
    part = copy.deepcopy(part)
    return part.cpu().eval() if isinstance(part, nn.Module) else part


def _row(values: tuple[float, ...] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values)


def _clip(x: Tensor, low: Any, high: Any) -> Tensor:
    """x held between low and high, either of which may be None."""
    return x if low is None and high is None else torch.clamp(x, low, high)
