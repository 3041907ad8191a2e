"""From one task to another that sees more, or less: what was learnt of the terms that both have goes on.

Terms of an observation group are matched by name. A weight that reads a new term starts at zero, so that a policy that
keeps all its terms acts as before; the constants that standardise it are those of the first observations.

Legend: D elements of a group in the new task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .normalize import ObsNormalizer, RunningMoments
from .types import CRITIC_GROUP, Obs, ObsGroup, TaskSpec

Columns = Mapping[str, Tensor]
"""Group -> (D,) int64: where each element was in the old group, -1 for a new one. Unchanged groups are not there."""


def check_decisions(trained: TaskSpec, other: TaskSpec) -> list[str]:
    """What is wrong with the actions of one task for a policy of the other."""
    faults = []
    if other.action.size != trained.action.size:
        faults.append(f"{other.action.size} actions, not {trained.action.size}")
    if other.action.chunk != trained.action.chunk:
        faults.append(f"task.chunk is {other.action.chunk}, not {trained.action.chunk}")
    return faults


def columns(trained: TaskSpec, other: TaskSpec) -> dict[str, Tensor]:
    """Where the elements of the other task's observations were in those of the trained one.

    Raises:
        ValueError: the actions differ; a group has no terms to match by, or none in common; a term is of another size.
    """
    faults, found = check_decisions(trained, other), {}
    for name, group in other.obs.items():
        before = trained.obs.get(name)
        if before is None:
            faults.append(f"it knows no observation group {name!r}")
        elif [(t.name, t.size) for t in before.terms] == [(t.name, t.size) for t in group.terms]:
            if before.shape != group.shape:
                faults.append(f"observation group {name!r} has shape {before.shape}, not {group.shape}")
        elif not _by_terms(before) or not _by_terms(group):
            faults.append(f"observation group {name!r} cannot be matched by its terms")
        else:
            found[name], wrong = _match(before, group)
            faults += [f"term {term!r} of {name!r} has another size" for term in wrong]
            if not wrong and bool((found[name] < 0).all()):
                faults.append(f"observation group {name!r} has no term in common")
    if faults:
        raise ValueError(f"a policy trained on {trained.name} does not fit {other.name}: {'; '.join(faults)}")
    return found


def _by_terms(group: ObsGroup) -> bool:
    """Whether a group is the vector of its terms; a history of them is not."""
    return bool(group.terms) and group.shape == (sum(term.size for term in group.terms),)


def _match(before: ObsGroup, after: ObsGroup) -> tuple[Tensor, list[str]]:
    places: dict[str, tuple[int, int]] = {}
    start = 0
    for term in before.terms:
        places[term.name], start = (start, term.size), start + term.size
    index: list[int] = []
    wrong = []
    for term in after.terms:
        first, size = places.get(term.name, (0, term.size))
        wrong += [term.name] if size != term.size else []
        index += range(first, first + term.size) if term.name in places else [-1] * term.size
    return torch.tensor(index), wrong


def weights(state: Mapping[str, Tensor], policy: nn.Module, moved: Columns) -> dict[str, Tensor]:
    """A policy's tensors for the new task.

    ``policy.input_weights`` says which tensors (..., D) of the actor read which group; none reads ``critic``. What
    stands for the terms of ``critic``, by the beginnings of names in ``policy.of_critic_terms``, is left out where
    these differ.

    Raises:
        ValueError: groups differ, and the policy does not say what reads them.
    """
    reading: Mapping[str, str] = getattr(policy, "input_weights", {})
    differ = [name for name in moved if name != CRITIC_GROUP and name not in reading.values()]
    if differ:
        raise ValueError(
            f"{type(policy).__name__} cannot start on a task with other observation terms "
            f"(those of {', '.join(differ)} differ)"
        )
    stale: tuple[str, ...] = getattr(policy, "of_critic_terms", ()) if CRITIC_GROUP in moved else ()
    kept = {name: x for name, x in state.items() if not name.startswith(stale)}
    return {name: _moved(x, moved[reading[name]]) if reading.get(name) in moved else x for name, x in kept.items()}


def _moved(x: Tensor, index: Tensor) -> Tensor:
    kept = x[..., index.clamp_min(0).to(x.device)]
    return torch.where(index.to(x.device) >= 0, kept, torch.zeros_like(kept))


@torch.no_grad()
def moments(state: Mapping[str, Any], normalizer: ObsNormalizer, moved: Columns, obs: Obs) -> dict[str, Tensor]:
    """A normaliser's tensors for the new task; obs: the first observations, raw (B, ...).

    What does not vary there, as a clock at the start of an episode, keeps its unit.
    """
    out = dict(state)
    for group, index in moved.items():
        if group not in normalizer.moments:
            continue
        mine = normalizer.moments[group]
        assert isinstance(mine, RunningMoments)
        fresh = RunningMoments(tuple(mine.mean.shape), mine.eps, mine.mirror).to(mine.mean.device)
        fresh.accumulate(obs[group])
        fresh.commit()
        fresh.var.masked_fill_(fresh.var < mine.eps, 1.0)
        for name in ("mean", "var"):
            key, new = f"moments.{group}.{name}", getattr(fresh, name)
            old = state[key].to(new)[..., index.clamp_min(0).to(new.device)] if key in state else new
            out[key] = torch.where(index.to(new.device) >= 0, old, new)
    return out


def describe(trained: TaskSpec, other: TaskSpec) -> list[str]:
    """What is new to the policy and what it must do without, a line a group; empty where all terms are known."""
    lines = []
    for name, group in other.obs.items():
        before, after = ([t.name for t in terms] for terms in (trained.obs[name].terms, group.terms))
        new, gone = [t for t in after if t not in before], [t for t in before if t not in after]
        parts = [f"{word} {', '.join(terms)}" for word, terms in (("new:", new), ("gone:", gone)) if terms]
        if parts:
            lines.append(f"observation group {name!r}: {'; '.join(parts)}")
    return lines
