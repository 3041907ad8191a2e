"""Evaluation: a fixed number of episodes, every figure with its interval, crashes counted as failures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .rollout import cleared
from .runtime import products, suited_to
from .statistics import mean_interval, wilson
from .types import Obs, Policy, StepResult, VecEnv

PROPORTIONS = (
    "success",
    "success_once",
    "success_at_end",
    "fall",
    "fell",
    "failure",
    "physics_failure",
    "crash",
    "timeout",
    "grasped",
    "never_grasped",
    "dropped",
    "wrong_object",
    "wrong_place",
)
"""Metrics that are proportions, beside the task's success metric; others get an interval of their mean."""
CONDITIONAL = ("followed",)
"""Proportions of those episodes to which they apply; NaN in the others."""
FAILURES = ("fall", "fell", "failure", "crash")
"""Proportions of which a crashed episode counts as 1."""


def evaluate(
    env: VecEnv,
    act: Policy | Callable[[Obs], Tensor],
    episodes: int,
    seed: int = 0,
    see: Callable[[Obs], Obs] | None = None,
    deterministic: bool = True,
    level: float = 0.95,
    keep_episodes: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run exactly ``episodes`` episodes and sum up their metrics.

    Each row contributes a quota fixed beforehand (its first ones), so short episodes are not over-represented as they
    would be among the first to end. An episode whose physics failed, or whose return, length or success is not finite,
    has crashed: it counts as a failure in proportions. Any other metric that is not finite does not apply to that
    episode and is left out of its mean.

    Args:
        act: a policy, or a function from raw observations to actions (B, H, A).
        see: turns raw observations into what the policy sees, as its ``ObsNormalizer`` does; not used with a function.
        deterministic: the policy's most likely action; otherwise it draws (from the seed as well).
        keep_episodes: also return ``per_episode``: every episode's metrics and whether it ``crashed``, for paired
            tests; row by row, in order.
        on_progress: called with (episodes done, episodes).

    Returns:
        Plain JSON types: ``episodes``, ``crashed``, ``seed``, ``deterministic``, ``level``, ``steps``, ``seconds``, and
        ``metrics``: name -> {mean, std, low, high, n}.

    Raises:
        ValueError: ``episodes`` < 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes={episodes}: must be at least 1")
    begin = time.perf_counter()
    # The policy's draws are a function of the seed, and a training run around this one does not notice.
    with torch.random.fork_rng([env.device] if env.device.type == "cuda" else []):
        torch.manual_seed(seed)
        records, steps = _run(env, _actor(env, act, see, deterministic), episodes, seed, on_progress)
    result: dict[str, Any] = {
        "episodes": episodes,
        "crashed": sum(not _sound(record) for record in records),
        "seed": seed,
        "deterministic": deterministic,
        "level": level,
        "steps": steps,
        "seconds": time.perf_counter() - begin,
        "metrics": summarise(records, env.spec.success_metric, level),
    }
    if keep_episodes:
        kept = {k: [_plain(record[k]) for record in records] for k in records[0]}
        result["per_episode"] = kept | {"crashed": [float(not _sound(record)) for record in records]}
    return result


def quotas(episodes: int, rows: int) -> Tensor:
    """(rows,) episodes that each row contributes: as equal as can be, the first rows taking what is left over."""
    quota = torch.full((rows,), episodes // rows)
    quota[: episodes % rows] += 1
    return quota


@torch.no_grad()
def _run(
    env: VecEnv,
    act: Callable[[Obs, StepResult | None], Tensor],
    episodes: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[list[dict[str, float]], int]:
    """The records of the episodes, row by row, and the environment steps they took together."""
    left = quotas(episodes, env.num_rows).to(env.device)
    by_row: list[list[dict[str, float]]] = [[] for _ in range(env.num_rows)]
    obs, step, steps = env.reset(seed=seed), None, 0
    while bool(left.any()):
        step = env.step(act(obs, step))
        obs = step.obs
        counted = left > 0
        steps += int(counted.sum() if step.steps is None else step.steps[counted].sum())
        ended = step.done & (left > 0)
        for row, record in _ended(step, ended):
            by_row[row].append(record)
        left -= ended.long()
        if on_progress is not None and bool(ended.any()):
            on_progress(episodes - int(left.sum()), episodes)
    return [record for records in by_row for record in records], steps


def _ended(step: StepResult, ended: Tensor) -> list[tuple[int, dict[str, float]]]:
    rows = ended.nonzero().squeeze(-1)
    if not rows.numel():
        return []
    columns = {name: x[rows].double().tolist() for name, x in step.metrics.items()}
    return [(row, {name: x[i] for name, x in columns.items()}) for i, row in enumerate(rows.tolist())]


def _actor(
    env: VecEnv, act: Policy | Callable[[Obs], Tensor], see: Callable[[Obs], Obs] | None, deterministic: bool
) -> Callable[[Obs, StepResult | None], Tensor]:
    """A function of the observation and the step that led to it, which clears the memory where an episode ended."""
    if not hasattr(act, "act"):
        return lambda obs, _: act(obs)
    policy: Policy = act  # type: ignore[assignment]
    memory, work = policy.initial_memory(env.num_rows), products(policy, env.num_rows)

    def step(obs: Obs, before: StepResult | None) -> Tensor:
        nonlocal memory
        if before is not None:
            memory = cleared(policy, memory, before.done)
        with suited_to(work, env.device):
            decision = policy.act(obs if see is None else see(obs), memory, deterministic)
        memory = decision.memory
        return decision.action

    return step


# Summing up ---------------------------------------------------------------------------------------------------------


def summarise(
    records: list[dict[str, float]], success_metric: str | None = None, level: float = 0.95
) -> dict[str, dict[str, float | int | None]]:
    """Every metric's mean, standard deviation and interval over episodes.

    Proportions (see PROPORTIONS) whose values are all 0 or 1 get Wilson's interval, others Student's t.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    summary = {}
    for name in names:
        kind = name.rsplit("/", 1)[-1]
        proportion = name == success_metric or kind in PROPORTIONS
        values = [record.get(name, math.nan) for record in records]
        if proportion:
            crash = 1.0 if kind in FAILURES else 0.0
            values = [value if _sound(record) else crash for value, record in zip(values, records, strict=True)]
        if kind in CONDITIONAL:  # whether it applied to an episode that crashed is not known
            values = [v if _sound(record) else math.nan for v, record in zip(values, records, strict=True)]
        known = np.array([value for value in values if math.isfinite(value)])
        summary[name] = _figure(known, proportion or kind in CONDITIONAL, level)
    return summary


def _figure(x: np.ndarray, proportion: bool, level: float) -> dict[str, float | int | None]:
    if x.size == 0:
        return {"mean": None, "std": None, "low": None, "high": None, "n": 0}
    binary = proportion and bool(np.isin(x, (0.0, 1.0)).all())
    low, high = wilson(float(x.sum()), x.size, level) if binary else mean_interval(x, level)
    std = float(x.std(ddof=1)) if x.size > 1 else 0.0
    return {"mean": float(x.mean()), "std": std, "low": low, "high": high, "n": int(x.size)}


def _sound(record: Mapping[str, float]) -> bool:
    broken = record.get("physics_failure", 0.0) > 0.0
    return not broken and all(math.isfinite(record.get(name, 0.0)) for name in ("return", "length", *PROPORTIONS))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
