"""Methods of learning over their training runs: pure functions of the figures of policies.

Legend: S seeds. An interval is Student's t over seeds: what another training run would give.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from embodied.statistics import mean_interval

WARM_UP = "warmup"
"""The policy that every method starts from."""
Policies = Mapping[str, Mapping[str, Any]]
"""policy -> what :func:`vla_figures.policy_figures` says of it."""
Methods = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""budget -> method -> ``policies`` (one a seed), ``env_steps``, ``seconds``."""


def over_seeds(values: Sequence[float | None], level: float) -> dict[str, Any]:
    """Mean, interval and every value; None where nothing is known, no interval from one seed."""
    known = [x for x in values if x is not None]
    mean = sum(known) / len(known) if known else None
    low, high = mean_interval(known, level) if len(known) > 1 else (None, None)
    return {"mean": mean, "low": low, "high": high, "n": len(known), "values": list(values)}


def method_figures(methods: Methods, policies: Policies, level: float) -> dict[str, dict[str, Any]]:
    """budget -> method -> what it cost, and success by row, by axis and retention over seeds."""
    return {
        budget: {name: {**entry, **_figures(entry, policies, level)} for name, entry in by_method.items()}
        for budget, by_method in methods.items()
    }


def _figures(entry: Mapping[str, Any], policies: Policies, level: float) -> dict[str, Any]:
    found = [policies[name] for name in entry["policies"] if name in policies]
    rows = dict.fromkeys(row for policy in found for row in policy["rows"])
    axes = dict.fromkeys(axis for policy in found for axis in policy["axes"])

    def of_axes(figure: str) -> dict[str, dict[str, Any]]:
        return {
            axis: over_seeds([policy["axes"][axis][figure]["mean"] for policy in found], level)
            for axis in axes
            if all(figure in policy["axes"].get(axis, {}) for policy in found)
        }

    played = {
        row: over_seeds([policy["rows"][row]["success_at_end"]["mean"] for policy in found], level)
        for row in rows
        if all(row in policy["rows"] for policy in found)
    }
    return {"rows": played, "axes": of_axes("success"), "retention": of_axes("retention")}


def pairs(methods: Methods | None, policies: Policies) -> list[tuple[str, str]]:
    """Which policies are compared: all with all; of methods those of the same budget and seed."""
    if methods is None:
        return list(itertools.combinations(policies, 2))
    found = [
        pair
        for by_method in methods.values()
        for first, second in itertools.combinations(by_method.values(), 2)
        for pair in zip(first["policies"], second["policies"], strict=False)
        if pair[0] in policies and pair[1] in policies
    ]
    return list(dict.fromkeys(found))
