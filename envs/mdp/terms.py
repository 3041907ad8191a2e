"""Weighted terms from configuration: names become functions, parameters are checked against their signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from embodied.configuration import nearest

Term = Callable[[Any], Tensor]


def bind(module: ModuleType, name: str, parameters: Mapping[str, Any], given: Mapping[str, Any]) -> Term:
    """The function ``name`` of ``module`` with its parameters fixed.

    given: values that the task supplies when the function asks for them and the configuration does not.
    Raises ValueError naming the valid choices for an unknown name, or for an unknown or missing parameter.
    """
    known = _functions(module)
    if name not in known:
        raise ValueError(f"unknown {_kind(module)} term {name!r}; {nearest(name, known)}")
    function = known[name]
    signature = list(inspect.signature(function).parameters.values())[1:]
    names = [parameter.name for parameter in signature]
    for key in parameters:
        if key not in names:
            raise ValueError(f"unknown parameter {key!r} of {_kind(module)} term {name!r}; {nearest(key, names)}")
    values = {key: given[key] for key in names if key in given} | dict(parameters)
    missing = [p.name for p in signature if p.default is inspect.Parameter.empty and p.name not in values]
    if missing:
        raise ValueError(f"{_kind(module)} term {name!r} needs {', '.join(missing)}")
    return lambda state: function(state, **values)


class WeightedTerms:
    """The weighted sum of named terms ``{name: weight or {weight: w, ...}}``; null and 0 leave a term out."""

    def __init__(self, module: ModuleType, config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        entries = {name: _entry(name, value) for name, value in config.items() if value is not None}
        entries = {name: (weight, rest) for name, (weight, rest) in entries.items() if weight != 0.0}
        if not entries:
            raise ValueError(f"no {_kind(module)} term has a weight; valid: {', '.join(_functions(module))}")
        self.names = list(entries)
        self._terms = [bind(module, name, rest, given) for name, (_, rest) in entries.items()]
        self._weights = torch.tensor([[weight] for weight, _ in entries.values()])

    def __call__(self, state: Any) -> tuple[Tensor, Tensor]:
        """The sum (n,) and the weighted terms (n, K), in ``names`` order, worlds last in memory."""
        parts = torch.stack([term(state) for term in self._terms])
        self._weights = self._weights.to(parts)  # moves once; every step would wait for a GPU
        parts = parts.mul_(self._weights)
        return parts.sum(0), parts.t()


def _entry(name: str, value: Any) -> tuple[float, dict[str, Any]]:
    """``weight`` or ``{weight: w, parameter: value, ...}``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value), {}
    if not isinstance(value, Mapping) or "weight" not in value:
        raise ValueError(f"term {name!r} needs a weight: write `{name}: 0.5` or `{name}: {{weight: 0.5, ...}}`")
    return float(value["weight"]), {key: item for key, item in value.items() if key != "weight"}


def _functions(module: ModuleType) -> dict[str, Callable[..., Tensor]]:
    """The public functions that a module itself defines."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def _kind(module: ModuleType) -> str:
    return module.__name__.rsplit(".", 1)[-1].rstrip("s")
