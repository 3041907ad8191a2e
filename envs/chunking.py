"""Action chunks and observation histories: a ``VecEnv`` around a ``VecEnv``, whose step is one decision.

A decision is H actions, executed one after the other without looking; a step of the wrapped environment is called a
control step here. Rewards within a decision are discounted by control step, so that with a discount factor g

    R_t = sum_{i < n} g^i r_{t,i}    and    V_t = R_t + g^n V_{t+1},    n = H, or fewer where the episode ended,

hold exactly (a semi-Markov decision process with options of H steps, Sutton, Precup and Singh 1999, section 2);
``StepResult.steps`` is n. A learner that counts decisions only must discount by ``g ** H``.

Legend: B rows; H actions of a chunk; A action size; L observations of a history, oldest first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.configuration import whole, within
from embodied.types import Obs, ObsGroup, StepResult, TaskSpec, VecEnv

HISTORY_GROUP = "policy"
"""The observation group that becomes a history: what a robot measures, and can remember."""


@dataclass(frozen=True)
class ChunkingConfig:
    """Keys that the configuration of every task takes, beside its own.

    chunk: H, actions executed per decision.  history: L, observations that a decision is made on.
    """

    chunk: int = 1
    history: int = 1

    def __post_init__(self) -> None:
        for name in ("chunk", "history"):
            whole(f"task.{name}", getattr(self, name))


class ChunkedVecEnv:
    """Decisions of H actions, made on the last L observations; implements :class:`embodied.types.VecEnv`.

    A row that ends inside a chunk stops there: nothing that follows counts, ``final_obs`` and ``metrics`` are those of
    the control step at which it ended, and it is reset once, after the chunk. Worlds advance together, so until then
    its world moves on unseen. Metrics stay those of the task: ``length`` counts control steps, ``return`` is not
    discounted. ``active`` is False where a row was not active at each of its control steps.

    The group ``policy`` becomes (B, L, ...) if L > 1: the observations of the last L control steps, those inside a
    chunk included; after a reset all of them are the first one. Other groups stay as they are.

    Of an environment that has ``observe_later`` and ``look(mask)``, such as one with cameras, images are drawn once a
    decision: each row as it was at the decision's end, or as its episode ended.

    Whatever else is asked of it (``physics``, ``command``, ``get_model_data``, ...) is the wrapped environment's.

    discount: g, per control step; a learner sets it to its own.
    autoreset: as of :class:`envs.mujoco.vec_env.MujocoVecEnv`.
    watch: called within a decision, before its control step i of 1 to H - 1, with i and the rows (B,) bool that go on;
        for films. None: nobody watches.

    Args:
        env: takes one action a step and has ``autoreset``, which is turned off, and ``reset_rows(mask, obs)``.

    Raises:
        ValueError: a number is out of its range, or the environment does not fit; the message says how.
    """

    def __init__(self, env: VecEnv, *, chunk: int = 1, history: int = 1, discount: float = 1.0) -> None:
        whole("chunk", chunk)
        whole("history", history)
        within("discount", discount, 0.0, 1.0)
        self.spec = chunked_spec(env.spec, chunk, history)
        self.env, self.chunk, self.history, self.discount = env, chunk, history, discount
        self.num_rows, self.device = env.num_rows, env.device
        self.autoreset = True
        self.watch: Callable[[int, Tensor], None] | None = None
        self._past: Tensor | None = None
        _turn_off_autoreset(env)
        self._looks_later = hasattr(env, "observe_later")
        if self._looks_later:
            env.observe_later = True  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # asked for by copy and pickle, before there is one
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, seed: int | None = None) -> Obs:
        """Start every row afresh; see :class:`embodied.types.VecEnv`."""
        obs = self.env.reset(seed)
        return obs if self.history == 1 else self._seen(obs, repeated(obs[HISTORY_GROUP], self.history))

    def step(self, action: Tensor) -> StepResult:
        """Execute a chunk in each row; action (B, H, A) in policy units."""
        expected = (self.num_rows, self.chunk, self.spec.action.size)
        if tuple(action.shape) != expected:
            raise ValueError(f"{self.spec.name}: action of shape {tuple(action.shape)}, expected {expected}")
        result = self._control_step(action[:, :1])
        unseen = torch.ones_like(result.done)
        for i in range(1, self.chunk):
            running = ~result.done
            if not bool(running.any()):
                break
            if self.watch is not None:
                self.watch(i, running)
            unseen = self._look_at_ended(unseen, running)
            result = join(result, self._control_step(action[:, i : i + 1]), running, self.discount**i)
        if self._looks_later:
            result.final_obs = {**result.final_obs, **self.env.look(unseen)}  # type: ignore[attr-defined]
        ended = self.autoreset and bool(result.done.any())
        result.obs = self.reset_rows(result.done, result.final_obs) if ended else result.final_obs
        return result

    def reset_rows(self, mask: Tensor, obs: Obs) -> Obs:
        """Reset the rows of a (B,) bool mask; ``obs`` with what these rows now observe in their places."""
        env: Any = self.env
        if self.history == 1:
            return env.reset_rows(mask, obs)
        past = obs[HISTORY_GROUP]
        fresh = env.reset_rows(mask, {**obs, HISTORY_GROUP: past[:, -1]})
        return self._seen(fresh, where(mask, repeated(fresh[HISTORY_GROUP], self.history), past))

    def _look_at_ended(self, unseen: Tensor, running: Tensor) -> Tensor:
        """Have rows seen as they ended inside the chunk, before their world moves on; (B,) bool, those left to see."""
        ended = unseen & ~running
        if self._looks_later and bool(ended.any()):
            self.env.look(ended)  # type: ignore[attr-defined]
        return unseen & running

    def _control_step(self, action: Tensor) -> StepResult:
        """One step of the wrapped environment, (B, 1, A), with histories; rows that end stay as they ended."""
        result = self.env.step(action)
        obs = result.obs
        if self.history > 1:
            assert self._past is not None, "reset() comes before step()"
            newest = obs[HISTORY_GROUP].unsqueeze(1)
            obs = self._seen(obs, torch.cat([self._past[:, 1:], newest], 1))
        steps = torch.ones(self.num_rows, dtype=torch.long, device=self.device)
        return dataclasses.replace(result, obs=obs, final_obs=obs, steps=steps)

    def _seen(self, obs: Obs, past: Tensor) -> Obs:
        """Note the history (B, L, ...) and show it. It is never written to, for others hold it, too."""
        self._past = past
        return {**obs, HISTORY_GROUP: past}

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact continuation needs."""
        return {"env": self.env.state_dict(), "past": None if self._past is None else self._past.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.env.load_state_dict(state["env"])
        self._past = None if state["past"] is None else state["past"].to(self.device, copy=True)

    def render(self, row: int = 0, **options: Any) -> np.ndarray:
        """RGB frame of one row, (height, width, 3) uint8, after the last control step of the decision."""
        return self.env.render(row, **options)

    def close(self) -> None:
        """Close the wrapped environment."""
        self.env.close()


def join(first: StepResult, second: StepResult, running: Tensor, weight: float) -> StepResult:
    """Two results in a row as one: what came after counts where the row was still ``running`` (B,).

    weight: of the second reward.
    """
    ended = running & second.done
    metrics = {name: where(ended, x, first.metrics.get(name, x)) for name, x in second.metrics.items()}
    return StepResult(
        obs=second.obs,
        reward=first.reward + torch.where(running, weight * second.reward, 0.0),
        terminated=first.terminated | (running & second.terminated),
        truncated=first.truncated | (running & second.truncated),
        final_obs={name: where(running, x, first.final_obs[name]) for name, x in second.final_obs.items()},
        metrics={**first.metrics, **metrics},
        active=_both_active(first.active, second.active, running),
        steps=None if first.steps is None else first.steps + running,
    )


def _both_active(first: Tensor | None, second: Tensor | None, running: Tensor) -> Tensor | None:
    """(B,) bool; a row that had ended keeps what it was."""
    if second is None:
        return first
    second = second | ~running
    return second if first is None else first & second


def where(mask: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x (B, ...) in the rows of mask (B,), y (B, ...) in the others."""
    return torch.where(mask.view(-1, *(1,) * (x.dim() - 1)), x, y)


def repeated(x: Tensor, history: int) -> Tensor:
    """The history (B, L, ...) of rows that have seen x (B, ...) alone."""
    return x.unsqueeze(1).repeat_interleave(history, 1)


def chunked_spec(spec: TaskSpec, chunk: int, history: int) -> TaskSpec:
    """The specification of decisions: ``control_dt`` is H times as long, ``horizon`` counts decisions.

    Both are what the learner, the viewers and the adapters step by. A history adds an axis (L, size) and no terms: the
    terms, the mirror image and the scale of one observation hold for each of the L, because all work on the last axis.

    Raises:
        ValueError: the task acts in chunks already, or has no group ``policy`` to keep a history of.
    """
    if spec.action.chunk != 1:
        raise ValueError(f"task {spec.name!r} acts in chunks of {spec.action.chunk} already")
    if history > 1 and HISTORY_GROUP not in spec.obs:
        raise ValueError(f"task {spec.name!r} has no observation group {HISTORY_GROUP!r}; it has {', '.join(spec.obs)}")
    obs = dict(spec.obs)
    if history > 1:
        obs[HISTORY_GROUP] = _with_history(obs[HISTORY_GROUP], history)
    return dataclasses.replace(
        spec,
        control_dt=chunk * spec.control_dt,
        horizon=-(-spec.horizon // chunk),
        obs=obs,
        action=dataclasses.replace(spec.action, chunk=chunk),
    )


def _with_history(group: ObsGroup, history: int) -> ObsGroup:
    return dataclasses.replace(group, shape=(history, *group.shape))


def _turn_off_autoreset(env: Any) -> None:
    """Rows that end must wait for the end of the chunk."""
    if not (hasattr(env, "autoreset") and hasattr(env, "reset_rows")):
        raise ValueError(
            f"task {env.spec.name!r} always resets within the step; task.chunk and task.history above 1 need an "
            "environment with autoreset and reset_rows(mask, obs)"
        )
    env.autoreset = False
