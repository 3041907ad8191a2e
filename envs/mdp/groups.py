"""Observation groups from configuration: their layout, their noise, their mirror image."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from embodied.configuration import nearest
from embodied.types import Mirror, ObsGroup, ObsTerm, Symmetry

from ..mujoco.indices import span
from . import observations
from .state import LeggedState
from .terms import bind

FIXED_MIRRORS = {
    "polar": (1.0, -1.0, 1.0),
    "axial": (-1.0, 1.0, -1.0),
    "planar_command": (1.0, -1.0, -1.0),
}


class ObservationGroups:
    """The groups of a task: ``{group: {term: {noise: half-width}}}``; null leaves a term out.

    example: any state of the task, from which the sizes are read.
    mirrors: how a reflection acts on ``joint``, ``motor``, ``leg``, ``link``, ``scan`` and ``gait`` terms.
    names: element names for those of joints, motors, legs and links.
    given: what the terms' parameters are in this task; a configuration cannot change what a term is computed from.
    """

    def __init__(
        self,
        config: Mapping[str, Mapping[str, Any]],
        given: Mapping[str, Any],
        example: LeggedState,
        mirrors: Mapping[str, Mirror],
        names: Mapping[str, tuple[str, ...]],
    ) -> None:
        if "policy" not in config:
            raise ValueError(f"observations need a group 'policy'; got {', '.join(config) or 'none'}")
        self._terms: dict[str, Callable[[LeggedState], Tensor]] = {}  # every term once, whichever groups have it
        self._noise: dict[str, Noise] = {}
        self.groups: dict[str, ObsGroup] = {}
        mirror_of: dict[str, Mirror] = {}
        for group, terms in config.items():
            kept = {name: options for name, options in (terms or {}).items() if options is not None}
            if not kept:
                raise ValueError(f"the observation group {group!r} has no terms")
            built = [_build(group, name, options, given, example, names) for name, options in kept.items()]
            self._terms |= {spec.name: function for function, spec in built}
            self.groups[group] = ObsGroup.of(*(spec for _, spec in built))
            mirror_of[group] = _join([_mirror(spec, mirrors) for _, spec in built])
            self._noise[group] = Noise([spec for _, spec in built], example.gravity_b.device)
        self.mirrors = mirror_of
        self.sensed = self._sensed(example.gravity_b.device)
        self._rows = self._find_rows(example.gravity_b.device)

    def _find_rows(self, device: torch.device) -> dict[str, slice | Tensor]:
        """Where the elements of each group are among those of all terms."""
        sizes = {spec.name: spec.size for group in self.groups.values() for spec in group.terms}
        ends = dict(zip(self._terms, accumulate(sizes[name] for name in self._terms), strict=True))
        return {
            name: span([i for spec in group.terms for i in range(ends[spec.name] - spec.size, ends[spec.name])], device)
            for name, group in self.groups.items()
        }

    def _sensed(self, device: torch.device) -> Tensor:
        """(size,) bool: the elements of the group ``policy`` that come through sensors."""
        terms = self.groups["policy"].terms
        flags = [getattr(observations, spec.name).info.sensed for spec in terms for _ in range(spec.size)]
        return torch.tensor(flags, device=device)

    def symmetry(self, action: Mirror) -> Symmetry:
        """The reflection of every group together with that of the action."""
        return Symmetry(self.mirrors, action)

    def __call__(self, state: LeggedState, generator: torch.Generator) -> dict[str, Tensor]:
        """Observe n states: group -> (n, size), with U(-noise, noise) added from ``generator``."""
        seen = torch.cat([term(state).t() for term in self._terms.values()])  # worlds last, as the state's fields are
        noisy = {group: self._noise[group].add(seen[rows], generator) for group, rows in self._rows.items()}
        return {group: elements.t().clone(memory_format=torch.contiguous_format) for group, elements in noisy.items()}


class Noise:
    """U(-half-width, half-width) on those elements of a group whose terms have noise."""

    def __init__(self, terms: list[ObsTerm], device: torch.device) -> None:
        widths = torch.tensor([term.noise for term in terms for _ in range(term.size)], device=device)
        self._elements = widths.nonzero().squeeze(-1)
        self._half_width = widths[self._elements, None]

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """A group's elements (size, n), as they are or as new ones with noise."""
        if not len(self._elements):
            return clean
        unit = clean.new_empty(len(self._elements), clean.shape[1]).uniform_(-1.0, 1.0, generator=generator)
        return clean.index_add(0, self._elements, unit.mul_(self._half_width))


def _build(
    group: str,
    name: str,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    example: LeggedState,
    names: Mapping[str, tuple[str, ...]],
) -> tuple[Callable[[LeggedState], Tensor], ObsTerm]:
    function = bind(observations, name, {}, given)
    noise = _noise(name, options)
    source = getattr(observations, name)
    info = source.info
    if group == "policy" and not info.measured:
        raise ValueError(f"a robot does not measure {name!r}: put it into the group 'critic', not 'policy'")
    asked = list(inspect.signature(source).parameters)[1:]
    spec = ObsTerm(
        name=name,
        size=function(example).shape[-1],
        unit=info.unit,
        frame=info.frame,
        noise=noise,
        names=names.get(info.mirror, ()),
        description=(source.__doc__ or "").strip().rstrip("."),
        parameters={key: given[key] for key in asked},
    )
    return function, spec


def _noise(name: str, options: Any) -> float:
    """The half-width that a term's options ask for, in the term's unit."""
    if not isinstance(options, Mapping):
        raise ValueError(f"observation term {name!r} takes options, got {options!r}: write `{name}: {{noise: 0.1}}`")
    for key in options:
        if key != "noise":
            raise ValueError(f"unknown option {key!r} of observation term {name!r}; {nearest(key, ['noise'])}")
    noise = options.get("noise", 0.0)
    if isinstance(noise, bool) or not isinstance(noise, (int, float)) or not 0.0 <= noise < math.inf:
        raise ValueError(f"noise of observation term {name!r} is a half-width of at least 0, got {noise!r}")
    return float(noise)


def _mirror(spec: ObsTerm, mirrors: Mapping[str, Mirror]) -> Mirror:
    kind = getattr(observations, spec.name).info.mirror
    if kind in mirrors:
        mirror = mirrors[kind]
        if len(mirror.index) != spec.size:
            raise ValueError(f"mirror {kind!r} has {len(mirror.index)} elements, term {spec.name!r} has {spec.size}")
        return mirror
    if kind == "none":
        return Mirror(tuple(range(spec.size)), (1.0,) * spec.size)
    if kind not in FIXED_MIRRORS:
        raise ValueError(
            f"unknown mirror {kind!r} of term {spec.name!r}; {nearest(kind, ['none', *FIXED_MIRRORS, *mirrors])}"
        )
    return Mirror(tuple(range(spec.size)), FIXED_MIRRORS[kind])


def _join(mirrors: list[Mirror]) -> Mirror:
    """The reflection of a concatenation."""
    index: list[int] = []
    sign: list[float] = []
    for mirror in mirrors:
        index += [len(sign) + i for i in mirror.index]
        sign += mirror.sign
    return Mirror(tuple(index), tuple(sign))
