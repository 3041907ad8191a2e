"""Demonstrations from an expert in a vectorised environment: whole episodes, each frame with what the expert saw.

Legend: B rows; A action size. The environment resets a row within the step that ends its episode, so the observation
that an action was computed from is the one BEFORE the step, and ``final_obs`` is what came of the last action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..configuration import positive
from ..evaluate import quotas
from ..rollout import cleared
from ..text import decode_text
from ..types import ActionSpec, Obs, Policy, StepResult, VecEnv
from .episodes import Arrays, Episode

INSTRUCTION = "instruction"
"""The observation group that holds an episode's words, as bytes."""


class Expert(Protocol):
    """Somebody who knows how: a script that reads the simulation's state, or a trained policy."""

    def act(self, obs: Obs) -> Tensor:
        """Actions (B, 1, A) in policy units for what the rows observe now."""

    def reset(self, rows: Tensor) -> None:
        """Forget the episodes of these rows (n,), which begin anew."""


class PolicyExpert:
    """A trained policy as an expert: its most likely action, and Gaussian noise on top.

    see: turns raw observations into what the policy sees, as its ``ObsNormalizer`` does, or None.
    noise: standard deviation, in policy units.
    """

    def __init__(self, policy: Policy, rows: int, see: Callable[[Obs], Obs] | None, noise: float, seed: int) -> None:
        self.policy, self.see, self.noise = policy, see, noise
        self._rows, self.memory = rows, policy.initial_memory(rows)
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def act(self, obs: Obs) -> Tensor:
        """See :class:`Expert`."""
        seen = obs if self.see is None else self.see(obs)
        decision = self.policy.act(seen, self.memory, deterministic=True)
        self.memory = decision.memory
        noise = torch.randn(decision.action.shape, generator=self._generator).to(decision.action)
        return decision.action + self.noise * noise

    def reset(self, rows: Tensor) -> None:
        """See :class:`Expert`."""
        if self.memory:
            done = torch.zeros(self._rows, dtype=torch.bool, device=rows.device)
            done[rows] = True
            self.memory = cleared(self.policy, self.memory, done)


@dataclass
class Tally:
    """How the expert fared: episodes that ended, those that succeeded, those that were kept."""

    attempts: int = 0
    successes: int = 0
    kept: int = 0


def record(
    env: VecEnv,
    expert: Expert,
    episodes: int,
    *,
    seed: int = 0,
    only_success: bool = False,
    max_attempts: int = 0,
    instruction: str = "",
    tally: Tally | None = None,
    on_progress: Callable[[Tally], None] | None = None,
) -> Iterator[Episode]:
    """Yield exactly ``episodes`` whole episodes, as they end.

    Each row contributes a quota fixed beforehand, so that short episodes are not over-represented, as they would be
    among the first to end. Actions are kept as the environment executes them: clipped to the task's limits. Episodes
    whose physics failed are left out.

    Args:
        instruction: the words of every episode; those of an observation group ``instruction`` come first.
        only_success: leave out episodes that did not succeed as well; their rows try again.
        max_attempts: give up after so many episodes; 0: ten for each one that is asked for.
        tally: is kept up to date, for the caller to read.

    Raises:
        ValueError: only_success on a task that does not measure it, a task that acts in chunks, or too few successes.
    """
    _check(env, episodes, only_success)
    tally = tally if tally is not None else Tally()
    tracks = _Tracks(env, quotas(episodes, env.num_rows).tolist(), only_success, instruction, tally)
    limit = max_attempts or 10 * episodes
    obs = env.reset(seed=seed)
    expert.reset(torch.arange(env.num_rows, device=env.device))
    while any(tracks.left):
        action = _executed(expert.act(obs), env.spec.action)
        step = env.step(action)
        tracks.extend(obs, action, step)
        obs, ended = step.obs, step.done.nonzero().squeeze(-1)
        if ended.numel():
            expert.reset(ended)
            yield from tracks.finish(ended.tolist(), step)
            if on_progress is not None:
                on_progress(tally)
            if any(tracks.left) and tally.attempts >= limit:
                raise ValueError(
                    f"{tally.kept} of {episodes} episodes kept of {tally.attempts}, {tally.successes} successful: "
                    "raise max_attempts, lower noise, or take a better expert"
                )


def _check(env: VecEnv, episodes: int, only_success: bool) -> None:
    positive("episodes", episodes)
    if only_success and env.spec.success_metric is None:
        raise ValueError(f"only_success: task {env.spec.name!r} has no success metric")
    if env.spec.action.chunk != 1:
        chunk = env.spec.action.chunk
        raise ValueError(f"task {env.spec.name!r} acts in chunks of {chunk}; record with chunk 1, windows cut chunks")


def _executed(action: Tensor, spec: ActionSpec) -> Tensor:
    """The action within its limits, as the environment takes it."""
    return action if spec.low is None and spec.high is None else action.clamp(spec.low, spec.high)


Step = tuple[Arrays, np.ndarray, float]
"""What a row saw, did (A,) and was paid in one step."""


class _Tracks:
    """The episodes that the rows are in, and how many each of them still has to give (``left``)."""

    def __init__(self, env: VecEnv, left: list[int], only_success: bool, instruction: str, tally: Tally) -> None:
        self.left, self.only_success, self.instruction, self.tally = left, only_success, instruction, tally
        self.metric = env.spec.success_metric
        self._steps: list[list[Step]] = [[] for _ in left]

    def extend(self, obs: Obs, action: Tensor, step: StepResult) -> None:
        """Append a step to the rows that still record; a row that is not active only resets."""
        seen = {name: x.cpu().numpy() for name, x in obs.items()}
        actions, rewards = action[:, 0].float().cpu().numpy(), step.reward.tolist()
        active = [True] * len(self.left) if step.active is None else step.active.tolist()
        for row, steps in enumerate(self._steps):
            if self.left[row] and active[row]:
                steps.append(({name: x[row] for name, x in seen.items()}, actions[row], rewards[row]))

    def finish(self, rows: list[int], step: StepResult) -> Iterator[Episode]:
        """The episodes that these rows ended with this step, as far as they are kept."""
        for row in rows:
            steps, self._steps[row] = self._steps[row], []
            if not steps:
                continue
            episode = self._episode(steps, step, row)
            self.tally.attempts += 1
            self.tally.successes += bool(episode.success)
            broken = "physics_failure" in step.metrics and bool(step.metrics["physics_failure"][row] > 0)
            if broken or (self.only_success and not episode.success):
                continue
            self.left[row] -= 1
            self.tally.kept += 1
            yield episode

    def _episode(self, steps: list[Step], step: StepResult, row: int) -> Episode:
        seen, actions, rewards = zip(*steps, strict=True)
        return Episode(
            obs={name: np.stack([obs[name] for obs in seen]) for name in seen[0]},
            action=np.stack(actions),
            reward=np.array(rewards, dtype=np.float32),
            terminated=bool(step.terminated[row]),
            success=None if self.metric is None else bool(step.metrics[self.metric][row] > 0.5),
            instruction=_told(seen[0]) or self.instruction,
            final_obs={name: x[row].cpu().numpy() for name, x in step.final_obs.items()},
        )


def _told(obs: Arrays) -> str:
    """What a row is told in words; nothing where no group holds any."""
    return decode_text(torch.from_numpy(obs[INSTRUCTION])[None])[0] if INSTRUCTION in obs else ""
