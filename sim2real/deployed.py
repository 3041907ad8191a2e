"""What goes into the ONNX file: normaliser, policy and action scaling as one module of plain tensors.

Legend: B rows; L observations of a history; n size of one; D noise tensors; H action chunk; A action size; N tokens of
an action element; h, w pixels; W word numbers of an instruction.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodied.types import Obs, Policy, TaskSpec

from . import contract as c
from . import perception as p
from .recording import Recording
from .rollout import Normalizer, forget

MODEL_FILE = "policy.onnx"
OPSET = 20
NOISE = "noise"


class DeployedPolicy(nn.Module):
    """(obs (B, L, n), [image (B, h, w, 3)], [words (B, W)], [noise (B, D, H, A)], *memory) -> (command (B, H, A),
    action (B, H, A), *memory), on the CPU.

    command: in the action's unit.  action: the policy's output after the action's own clip; the observation's
    previous-action term is made of it.  noise: where the policy's ``draw_noise`` would draw, of this shape.

    policy, normalizer: are copied; ``policy.act(normalizer(obs), memory, deterministic=True)`` is what this computes.
    Words are what the policy's own tokenizer makes of an instruction, which the runtime repeats.
    A generative policy calls ``draw_noise`` even then. Here that noise is an input, and what ``draw_noise`` hands out
    for deterministic decisions, zeros or standard normal numbers, is its scale in the contract.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, policy: Policy, normalizer: Normalizer, spec: TaskSpec) -> None:
        super().__init__()
        self.policy: Any = _on_cpu(policy)
        self.normalizer: Any = _on_cpu(normalizer)
        self._drawing = _part(self.policy, "draw_noise")
        self._tokenizer = _part(self.policy, "describe")
        told = p.instruction_of(spec, self._tokenizer.describe() if self._tokenizer else None)
        self.contract = c.contract_of(spec, _describe(self.policy, spec, self._drawing, told), told)
        self._names = [tensor.name for tensor in self.contract.model.inputs[1:]]
        self.memory_names = sorted(self.policy.initial_memory(1))
        known = (c.POLICY_GROUP, p.IMAGE_GROUP, *([] if told is None else [p.INSTRUCTION_GROUP]))
        self._others = {name: group.shape for name, group in spec.obs.items() if name not in known}
        self._obs_shape = spec.obs[c.POLICY_GROUP].shape
        action = self.contract.action
        self._low, self._high = action.low, action.high
        self._command_low, self._command_high = _row(action.command_low), _row(action.command_high)
        self.register_buffer("offset", torch.tensor(action.offset), persistent=False)
        self.register_buffer("scale", torch.tensor(action.scale), persistent=False)

    def forward(self, obs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self._names, others, strict=True))
        state = {name: given[f"{name}_in"] for name in self.memory_names}
        action, state = self._decide(self._seen(obs, given), given.get(NOISE), state)
        action = _clip(action, self._low, self._high)
        command = _clip(self.offset + self.scale * action, self._command_low, self._command_high)
        return command, action, *(state[name] for name in self.memory_names)

    def _seen(self, obs: Tensor, given: dict[str, Tensor]) -> Obs:
        """What the policy sees, as the learner shows it."""
        # The critic's groups are unknown on a robot; the value they would give is not an output, so the export
        # drops it together with the critic's weights.
        unknown = {name: obs.new_zeros(obs.shape[0], *shape) for name, shape in self._others.items()}
        image = {name: given[name] for name in (p.IMAGE_GROUP,) if name in given}
        seen = self.normalizer({c.POLICY_GROUP: obs.reshape(obs.shape[0], *self._obs_shape), **image, **unknown})
        return {**seen, **{name: given[name] for name in (p.WORDS,) if name in given}}

    def _decide(self, seen: Obs, noise: Tensor | None, memory: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The policy's deterministic action (B, H, A), and its memory afterwards."""
        if noise is not None and not memory:
            return self._chain(seen, noise), memory
        with _instead(self._drawing, "draw_noise", noise):
            decision = self.policy.act(seen, memory, deterministic=True)
        return decision.action, decision.memory

    def _chain(self, seen: Obs, noise: Tensor) -> Tensor:
        """The same as ``act`` without the likelihood of the chain, which no graph has to hold.

        ``export_forward`` knows no words: image, words and measurements become the condition before it asks for one.
        """
        groups = seen[c.POLICY_GROUP], noise, seen.get(p.IMAGE_GROUP)
        if p.WORDS not in seen:
            return self.policy.export_forward(*groups)
        cond = self.policy.export_condition(groups[0], groups[2], seen[p.WORDS])
        with _instead(self._drawing, "condition", cond):
            return self.policy.export_forward(*groups)

    def inputs(self, recording: Recording) -> Recording:
        """The recording as this policy is compared on it: with what it takes; row by row, or all decisions as an
        episode's first if it has no memory. Images stay in as many steps as they were seen in, for lack of room.
        """
        contract = self.contract
        recording = dataclasses.replace(
            recording,
            image=None if contract.image is None else recording.image,
            instruction=None if contract.instruction is None else recording.instruction,
        )
        if not self.memory_names:
            recording = recording.flat() if contract.image is None else recording.fresh()
        return recording if contract.model.noise is None else recording.with_noise(contract.model.noise.shape)

    @torch.no_grad()
    def replay(self, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
        """command and action, (T, R, H, A) each, along a recording."""
        memory = self.policy.initial_memory(recording.start.shape[1])
        commands, actions = [], []
        for step, start in enumerate(recording.start):
            memory = forget(self.policy, memory, torch.tensor(start))
            obs, given = self.given(recording, step)
            held = (memory[name] for name in self.memory_names)
            command, action, *after = self(obs, *given.values(), *held)
            memory = dict(zip(self.memory_names, after, strict=True))
            commands.append(command.numpy())
            actions.append(action.numpy())
        return np.stack(commands), np.stack(actions)

    def given(self, recording: Recording, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A recorded decision's obs, and its image, words and noise by the names and in the order of the inputs."""
        kinds = {p.IMAGE_GROUP: torch.uint8, p.WORDS: torch.int64, NOISE: self.offset.dtype}
        found: dict[str, Any] = {name: x[step] for name, x in recording.optional().items()}
        if p.INSTRUCTION_GROUP in found and self._tokenizer is not None:
            texts = [bytes(row).split(b"\0", 1)[0].decode() for row in found[p.INSTRUCTION_GROUP]]
            found[p.WORDS] = self._tokenizer.padded(texts, self._tokenizer.max_words)
        ordered = {name: torch.as_tensor(found[name], dtype=kinds[name]) for name in self._names if name in kinds}
        return torch.tensor(recording.obs[step], dtype=self.offset.dtype), ordered

    @property
    def tokens(self) -> bool:
        """The policy chooses its actions from a few, so that rounding changes them by nothing or by much."""
        return hasattr(self.policy, "token_logits")

    @torch.no_grad()
    def logits(self, recording: Recording, action: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each of the T steps the logits (R, H, A, N) behind actions (T, R, H, A), and the tokens (R, H, A) that
        these are. A logit is that of a token given the tokens of ``action`` before it.
        """
        for step, taken in enumerate(action):
            obs, given = self.given(recording, step)
            chosen = torch.tensor(taken, dtype=self.offset.dtype)
            if hasattr(self.policy, "unscaled"):
                chosen = self.policy.unscaled(chosen)
            yield self.policy.token_logits(self._seen(obs, given), chosen)

    def exact(self) -> DeployedPolicy:
        """A copy that computes in float64."""
        return copy.deepcopy(self).double()

    def rounding(self, recording: Recording) -> float:
        """What float32 costs a policy that takes noise: the largest difference from its actions in float64.

        A diffusion that predicts the noise divides it by the signal's share, so that rounding grows: with a cosine
        schedule of 20 steps 30-fold in the first step alone.
        """
        return float(np.abs(self.replay(recording)[1] - self.exact().replay(recording)[1]).max())


def _describe(policy: Policy, spec: TaskSpec, drawing: Any, told: p.Instruction | None) -> c.Model:
    """Names and shapes of the network's inputs and outputs."""
    memory = policy.initial_memory(1)
    if any(bool(value.any()) for value in memory.values()):
        raise ValueError("this policy's memory does not start at zero; a bundle promises that it does")
    states = tuple(c.MemoryInfo(f"{k}_in", f"{k}_out", tuple(memory[k].shape[1:])) for k in sorted(memory))
    noise = None if drawing is None else c.NoiseInfo(NOISE, tuple(drawing.noise_shape), c.NORMAL, _scale(drawing))
    group = spec.obs.get(c.POLICY_GROUP)
    history, size = (c.history_of(group), sum(term.size for term in group.terms)) if group else (1, 0)
    decision = spec.action.chunk, spec.action.size

    def tensor(name: str, *shape: int, dtype: str = "float32") -> c.TensorInfo:
        return c.TensorInfo(name, (c.BATCH, *shape), dtype)

    image = p.image_of(spec)
    seen = () if image is None else (tensor(image.input, *image.shape, dtype=image.dtype),)
    words = () if told is None else (tensor(told.input, told.max_words, dtype="int64"),)
    drawn = () if noise is None else (tensor(NOISE, *noise.shape),)
    inputs = (tensor("obs", history, size), *seen, *words, *drawn, *(tensor(s.input, *s.shape) for s in states))
    outputs = (tensor("command", *decision), tensor("action", *decision), *(tensor(s.output, *s.shape) for s in states))
    return c.Model(MODEL_FILE, OPSET, inputs, outputs, noise, states)


def _part(policy: nn.Module, method: str) -> Any:
    """The part of a policy that draws noise (``draw_noise``) or tokenizes (``describe``), whatever wraps it."""
    return next((part for part in policy.modules() if hasattr(type(part), method)), None)


def _scale(drawing: Any) -> float:
    """The deviation of what it draws for a deterministic decision: 0 or 1."""
    with torch.random.fork_rng([]):
        return float(drawing.draw_noise(torch.zeros(1, 1), deterministic=True).any())


@contextlib.contextmanager
def _instead(part: Any, method: str, result: Tensor | None) -> Iterator[None]:
    """A result in place of what a method of ``part``, if there is one, would return."""
    if part is None:
        yield
        return
    setattr(part, method, lambda *args, **options: result)
    try:
        yield
    finally:
        delattr(part, method)


def _on_cpu(part: Any) -> Any:
    """A copy in evaluation mode; a normaliser may also be a plain function."""
    part = copy.deepcopy(part)
    return part.cpu().eval() if isinstance(part, nn.Module) else part


def _row(values: tuple[float, ...] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values)


def _clip(x: Tensor, low: Any, high: Any) -> Tensor:
    """x held between low and high, either of which may be None."""
    return x if low is None and high is None else torch.clamp(x, low, high)
