"""What one iteration learns from: storage of T steps of B rows, its collection, and its minibatches.

Legend: T steps; B rows; b rows of a minibatch; H action chunk; A action size; F likelihood factors.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from .metrics import EpisodeWindow
from .runtime import products, suited_to
from .types import Decision, Obs, Policy, StepResult, VecEnv

MEMORY = "memory/"
EPISODE_START = "episode_start"


class Rollout:
    """Preallocated tensors of T steps of B rows; the same memory serves every iteration.

    obs: group -> (T, B, ...), standardised.  action: (T, B, H, A).  log_prob: (T, B, F).  trace: name -> (T, B, ...);
    for a recurrent policy ``episode_start`` (T, B) bool and ``memory/<key>`` (1, B, ...), the memory at the first
    step, from which the rest follows.
    value, reward, bootstrap: (T, B) float; bootstrap is value(final_obs) where truncated, 0 elsewhere.
    steps: (T, B) float, control steps that each decision lasted.
    success: (T, B) float, the task's success metric where an episode ended, 0 elsewhere and without such a metric.
    terminated, truncated, active: (T, B) bool.  last_value: (B,), of the observation after the last step.
    advantage, target: (T, B), filled in by the learner; mask: (T, B) bool or None, the steps that it learns from.
    decide_seconds: wall time that the policy took to act (of a generative one: to denoise); on CUDA, to launch it.
    """

    def __init__(self, num_steps: int, num_rows: int, device: torch.device | str = "cpu") -> None:
        shape = (num_steps, num_rows)
        self.num_steps, self.num_rows, self.device = num_steps, num_rows, torch.device(device)
        self.obs: Obs = {}
        self.trace: dict[str, Tensor] = {}
        self.action = torch.empty(0)
        self.log_prob = torch.empty(0)
        self.value, self.reward, self.bootstrap = (torch.zeros(shape, device=device) for _ in range(3))
        self.success = torch.zeros(shape, device=device)
        self.terminated, self.truncated = (torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(2))
        self.active = torch.ones(shape, dtype=torch.bool, device=device)
        self.all_active = True
        self.steps = torch.ones(shape, device=device)
        self.last_value = torch.zeros(num_rows, device=device)
        self.advantage, self.target = torch.empty(0), torch.empty(0)
        self.mask: Tensor | None = None
        self.decide_seconds = 0.0

    @property
    def done(self) -> Tensor:
        """(T, B) bool."""
        return self.terminated | self.truncated

    def _like(self, x: Tensor, steps: int | None = None) -> Tensor:
        """Storage for one (B, ...) tensor a step."""
        return torch.empty((steps or self.num_steps, *x.shape), dtype=x.dtype, device=self.device)

    def _allocate(self, obs: Obs, decision: Decision) -> None:
        self.obs = {name: self._like(x) for name, x in obs.items()}
        self.action, self.log_prob = self._like(decision.action), self._like(decision.log_prob)

    def store_decision(self, t: int, obs: Obs, decision: Decision, carry: Carry) -> None:
        """Store what the policy saw, remembered and did at step t."""
        if not self.obs:
            self._allocate(obs, decision)
        for name, x in obs.items():
            self.obs[name][t] = x
        self.action[t] = decision.action
        self.log_prob[t] = decision.log_prob
        self.value[t] = decision.value
        trace = {name: x for name, x in decision.trace.items() if not name.startswith(MEMORY)}
        if carry.memory:
            trace[EPISODE_START] = carry.episode_start
        for name, x in trace.items():
            self.trace.setdefault(name, self._like(x))[t] = x
        if t == 0:
            for name, x in carry.memory.items():
                self.trace.setdefault(MEMORY + name, self._like(x, 1))[0] = x

    def store_outcome(self, t: int, step: StepResult, success_metric: str | None = None) -> None:
        """Store what came of step t."""
        if t == 0:
            self.all_active = True
            self.success.zero_()
        self.reward[t] = step.reward
        self.terminated[t] = step.terminated
        self.truncated[t] = step.truncated
        self.steps[t] = 1.0 if step.steps is None else step.steps
        if success_metric in step.metrics:
            self.success[t] = torch.where(step.done, step.metrics[success_metric], 0.0)
        if step.active is None:
            self.active[t] = True
        else:
            self.active[t] = step.active
            self.all_active = False


@dataclass
class Carry:
    """What leads from one rollout into the next.

    obs: raw observations (B, ...).  memory: name -> (B, ...), already cleared where an episode starts.
    episode_start: (B,) bool.
    """

    obs: Obs
    memory: dict[str, Tensor]
    episode_start: Tensor

    @classmethod
    def start(cls, env: VecEnv, policy: Policy, obs: Obs) -> Carry:
        """At the start of every row's episode."""
        starts = torch.ones(env.num_rows, dtype=torch.bool, device=env.device)
        return cls(obs, policy.initial_memory(env.num_rows), starts)

    def state_dict(self) -> dict[str, Any]:
        """As a nested dict."""
        return {"obs": self.obs, "memory": self.memory, "episode_start": self.episode_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back ``state_dict()``, onto the device of what is there."""
        device = self.episode_start.device
        self.obs = {name: x.to(device) for name, x in state["obs"].items()}
        self.memory = {name: x.to(device) for name, x in state["memory"].items()}
        self.episode_start = state["episode_start"].to(device)


@torch.no_grad()
def collect(
    env: VecEnv,
    policy: Policy,
    rollout: Rollout,
    carry: Carry,
    normalizer: nn.Module | None = None,
    episodes: EpisodeWindow | None = None,
    *,
    values: bool = True,
) -> Carry:
    """Fill the rollout with T steps of the policy in the environment.

    The environment may not write into observations that it has handed out.

    Args:
        carry: where the rollout before ended; see :meth:`Carry.start`.
        normalizer: an ``ObsNormalizer``, frozen meanwhile; it takes notes of what is seen.
        episodes: takes the metrics of the episodes that end.
        values: also value the observations at which episodes are truncated, and the last ones, for GAE.

    Returns:
        The carry for the next rollout.
    """
    see = normalizer if normalizer is not None else _as_is
    work = products(policy, rollout.num_rows)
    rollout.decide_seconds = 0.0
    for t in range(rollout.num_steps):
        obs = see(carry.obs)
        begin = time.perf_counter()
        with suited_to(work, rollout.device):
            decision = policy.act(obs, carry.memory)
        rollout.decide_seconds += time.perf_counter() - begin
        rollout.store_decision(t, obs, decision, carry)
        step = env.step(decision.action)
        rollout.store_outcome(t, step, env.spec.success_metric)
        if normalizer is not None:
            normalizer.accumulate(carry.obs, step.active)  # type: ignore[operator]
        if values:
            with suited_to(work, rollout.device):
                _bootstrap(rollout.bootstrap[t], policy, see, step, decision.memory)
        if episodes is not None:
            episodes.add(step)
        carry = Carry(step.obs, cleared(policy, decision.memory, step.done), step.done)
    if values:
        rollout.last_value.copy_(policy.value(see(carry.obs), carry.memory))
    return carry


def _as_is(obs: Obs) -> Obs:
    return obs


def _bootstrap(out: Tensor, policy: Policy, see: Any, step: StepResult, memory: dict[str, Tensor]) -> None:
    """Write value(final_obs) of the truncated rows, evaluated for these rows alone, into out (B,)."""
    out.zero_()
    rows = step.truncated.nonzero().squeeze(-1)
    if rows.numel():
        final = see({name: x[rows] for name, x in step.final_obs.items()})
        out[rows] = policy.value(final, {name: x[rows] for name, x in memory.items()})


def cleared(policy: Policy, memory: dict[str, Tensor], done: Tensor) -> dict[str, Tensor]:
    """Memory (B, ...) back at its start where an episode ended; done (B,) bool."""
    if not memory:
        return memory
    fresh = policy.initial_memory(done.shape[0])
    return {name: torch.where(_fit(done, x), fresh[name], x) for name, x in memory.items()}


def _fit(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (B,) shaped to broadcast against x (B, ...)."""
    return mask.view(-1, *[1] * (x.dim() - 1))


@dataclass
class Batch:
    """One minibatch; every tensor has leading shape (n,), or (T, b) for a recurrent policy.

    mask: bool, the decisions that count; None if all do.
    original: bool, False where a decision was replaced by its mirror image; None if none was.
    """

    obs: Obs
    action: Tensor
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor
    trace: dict[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    original: Tensor | None = None


def minibatches(rollout: Rollout, count: int, recurrent: bool) -> Iterator[Batch]:
    """One epoch: every decision that counts once, in random order, in ``count`` parts.

    A policy without memory gets flat rows, those that do not count left out; a recurrent one gets whole
    sequences (T, b) with a mask.
    """
    yield from (_sequences if recurrent else _rows)(rollout, count)


def _rows(rollout: Rollout, count: int) -> Iterator[Batch]:
    tensors = _tensors(rollout).items()
    flat = {name: x.flatten(0, 1) for name, x in tensors if not name.startswith(f"trace.{MEMORY}")}
    if rollout.mask is None:
        order = torch.randperm(rollout.value.numel(), device=rollout.device)
    else:
        counted = rollout.mask.flatten().nonzero().squeeze(-1)
        order = counted[torch.randperm(counted.numel(), device=rollout.device)]
    _enough(order.numel(), count, "decisions")
    for rows in order.tensor_split(count):
        yield _batch({name: x.index_select(0, rows) for name, x in flat.items()})


def _sequences(rollout: Rollout, count: int) -> Iterator[Batch]:
    tensors = _tensors(rollout)
    order = torch.randperm(rollout.num_rows, device=rollout.device)
    _enough(order.numel(), count, "sequences")
    for rows in order.tensor_split(count):
        batch = _batch({name: x.index_select(1, rows) for name, x in tensors.items()})
        if rollout.mask is not None:
            batch.mask = rollout.mask.index_select(1, rows)
        yield batch


def whole_rows(rollout: Rollout, rows: Tensor, recurrent: bool) -> Batch:
    """All decisions of rows (b,): flat (T * b,), step by step, or sequences (T, b) for a recurrent policy."""
    chosen = {name: x.index_select(1, rows) for name, x in _tensors(rollout).items()}
    if recurrent:
        return _batch(chosen)
    return _batch({name: x.flatten(0, 1) for name, x in chosen.items() if not name.startswith(f"trace.{MEMORY}")})


def pieces(batch: Batch, size: int | None) -> Iterator[tuple[Batch, float]]:
    """A flat minibatch in parts of at most ``size`` decisions, each with its portion of them; None: in one part."""
    count = len(batch.value)
    if size is None or size >= count:
        yield batch, 1.0
        return
    for rows in torch.arange(count, device=batch.value.device).split(size):
        part = {name: getattr(batch, name)[rows] for name in _FIELDS}
        obs, trace = ({k: x[rows] for k, x in group.items()} for group in (batch.obs, batch.trace))
        yield Batch(obs=obs, trace=trace, **part), len(rows) / count


def _enough(available: int, count: int, what: str) -> None:
    if available < count:
        raise ValueError(f"algo.num_minibatches={count}: the rollout has only {available} {what} to share out")


_FIELDS = ("action", "log_prob", "value", "advantage", "target")


def _tensors(rollout: Rollout) -> dict[str, Tensor]:
    named = {name: cast(Tensor, getattr(rollout, name)) for name in _FIELDS}
    named |= {f"obs.{name}": x for name, x in rollout.obs.items()}
    return named | {f"trace.{name}": x for name, x in rollout.trace.items()}


def _batch(named: dict[str, Tensor]) -> Batch:
    obs = {name[4:]: x for name, x in named.items() if name.startswith("obs.")}
    trace = {name[6:]: x for name, x in named.items() if name.startswith("trace.")}
    return Batch(obs=obs, trace=trace, **{name: named[name] for name in _FIELDS})
