"""Domain randomisation: declared by name with a law, drawn per world at every reset.

A target says which model fields it changes and how a draw acts on the nominal model (scale, add or set); YAML gives
the law. Values start from the nominal model at every reset, so draws do not pile up. Masses and inertias change
together, which keeps inertias positive definite, and derived constants are recomputed (``set_const``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import torch
from torch import Tensor

from embodied.configuration import from_mapping, nearest

from .indices import span
from .physics import Physics


@dataclass(frozen=True)
class Law:
    """A distribution: ``uniform`` or ``log_uniform`` on [low, high], or ``normal`` (mean, std), cut at 4 std."""

    law: str = "uniform"
    low: float = math.nan
    high: float = math.nan
    mean: float = math.nan
    std: float = math.nan

    def __post_init__(self) -> None:
        if self.law not in ("uniform", "log_uniform", "normal"):
            raise ValueError(f"unknown law {self.law!r}; choose uniform, log_uniform or normal")
        needed = ("mean", "std") if self.law == "normal" else ("low", "high")
        for name in needed:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                raise ValueError(f"law {self.law} needs the numbers {' and '.join(needed)}; {name} is {value!r}")
        if self.law == "normal":
            if self.std < 0:
                raise ValueError(f"law normal: std {self.std} is negative")
            return
        if self.low > self.high:
            raise ValueError(f"law {self.law}: low {self.low} is above high {self.high}")
        if self.law == "log_uniform" and self.low <= 0:
            raise ValueError(f"law log_uniform needs low > 0, got {self.low}")

    @property
    def lowest(self) -> float:
        """No draw is below this."""
        return self.mean - 4 * self.std if self.law == "normal" else self.low

    @property
    def offset_and_scale(self) -> tuple[float, float]:
        """What takes a standard draw to one of this law, or to its logarithm for ``log_uniform``."""
        if self.law == "normal":
            return self.mean, self.std
        low, high = (math.log(self.low), math.log(self.high)) if self.law == "log_uniform" else (self.low, self.high)
        return low, high - low

    def draw(self, shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
        """Draws of this law, float32."""
        offset, scale = self.offset_and_scale
        value = offset + scale * self.standard(shape, generator, device)
        return value.exp_() if self.law == "log_uniform" else value

    def standard(self, shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
        """Draws of U(0, 1), or of N(0, 1) cut at 4 for ``normal``, float32."""
        if self.law == "normal":
            return torch.randn(*shape, generator=generator, device=device).clamp_(-4, 4)
        return torch.rand(*shape, generator=generator, device=device)


@dataclass(frozen=True)
class Parts:
    """Where a robot's pieces are in the model."""

    base: int
    links: Sequence[int]
    foot_geoms: Sequence[int]
    actuators: Sequence[int]
    dofs: Sequence[int]


class Columns:
    """The same, as indices into the columns of (n, ...) fields: slices where pieces are neighbours, else tensors."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self.base = slice(parts.base, parts.base + 1)
        self.links, self.foot_geoms = span(parts.links, device), span(parts.foot_geoms, device)
        self.actuators, self.dofs = span(parts.actuators, device), span(parts.dofs, device)


Write = Callable[[Mapping[str, Tensor], Columns, Tensor], None]


@dataclass(frozen=True)
class Target:
    """What can be randomised.

    fields: the model fields it writes.  size: elements of one draw, given the parts.
    write: (rows, at, draw (n, size)) -> None; rows: name -> (n, ...) values of the fields, nominal ones or as
        another target left them, changed in place.
    constants: derived constants change with it.  unit, effect: for people.
    """

    fields: tuple[str, ...]
    size: Callable[[Parts], int]
    write: Write
    constants: bool
    unit: str
    effect: str


def _foot_friction(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    rows["geom_friction"][:, at.foot_geoms, 0] = draw


def _scale_inertia(rows: Mapping[str, Tensor], bodies: slice | Tensor, scale: Tensor) -> None:
    rows["body_mass"][:, bodies] *= scale
    rows["body_inertia"][:, bodies] *= scale[..., None]


def _base_mass(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    mass = rows["body_mass"][:, at.base]
    _scale_inertia(rows, at.base, (mass + draw) / mass)


def _base_com(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    rows["body_ipos"][:, at.base] += draw[:, None]


def _link_mass(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    _scale_inertia(rows, at.links, draw)


def _kp(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    rows["actuator_gainprm"][:, at.actuators, 0] *= draw
    rows["actuator_biasprm"][:, at.actuators, 1] *= draw


def _kd(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    rows["actuator_biasprm"][:, at.actuators, 2] *= draw


def _motor_strength(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
    _kp(rows, at, draw)
    _kd(rows, at, draw)
    rows["actuator_forcerange"][:, at.actuators] *= draw[..., None]


def _dof_scale(name: str) -> Write:
    def write(rows: Mapping[str, Tensor], at: Columns, draw: Tensor) -> None:
        rows[name][:, at.dofs] *= draw

    return write


_GAINS = ("actuator_gainprm", "actuator_biasprm")
_MASS = ("body_mass", "body_inertia")

TARGETS: dict[str, Target] = {
    "foot_friction": Target(
        ("geom_friction",), lambda p: 1, _foot_friction, False, "1", "sliding friction of the feet, set"
    ),
    "base_mass": Target(_MASS, lambda p: 1, _base_mass, True, "kg", "mass of the base, added"),
    "base_com": Target(("body_ipos",), lambda p: 3, _base_com, True, "m", "centre of mass of the base, added"),
    "link_mass": Target(_MASS, lambda p: len(p.links), _link_mass, True, "1", "mass of each link, scaled"),
    "kp": Target(_GAINS, lambda p: len(p.actuators), _kp, False, "1", "stiffness of each motor, scaled"),
    "kd": Target(_GAINS, lambda p: len(p.actuators), _kd, False, "1", "damping of each motor, scaled"),
    "motor_strength": Target(
        (*_GAINS, "actuator_forcerange"),
        lambda p: len(p.actuators),
        _motor_strength,
        False,
        "1",
        "torque of each motor and its limit, scaled",
    ),
    "armature": Target(
        ("dof_armature",), lambda p: len(p.dofs), _dof_scale("dof_armature"), True, "1", "rotor inertia, scaled"
    ),
    "joint_friction": Target(
        ("dof_frictionloss",), lambda p: len(p.dofs), _dof_scale("dof_frictionloss"), False, "1", "dry friction, scaled"
    ),
}


def parse(config: Mapping[str, Any] | None) -> dict[str, Law]:
    """name -> Law from YAML (null: none); unknown names, keys and laws are errors that name the valid ones."""
    laws = {}
    for name, options in (config or {}).items():
        if name not in TARGETS:
            raise ValueError(f"unknown randomisation {name!r}; {nearest(name, TARGETS)}")
        if options is None:
            continue
        if not isinstance(options, Mapping):
            raise ValueError(f"randomization.{name} is a law, as {{low: 0.9, high: 1.1}}, got {options!r}")
        laws[name] = from_mapping(Law, options, f"randomization.{name}")
        if TARGETS[name].unit == "1" and laws[name].lowest < 0:
            raise ValueError(f"randomization.{name} reaches {laws[name].lowest:g}; {TARGETS[name].effect}: not below 0")
    return laws


def per_world_fields(laws: Mapping[str, Law]) -> list[str]:
    """The model fields that these randomisations need per world."""
    return sorted({field for name in laws for field in TARGETS[name].fields})


class Draws:
    """One draw of every law, side by side: what several laws share is then computed once.

    sizes: name -> elements of one draw.
    """

    def __init__(self, laws: Mapping[str, Law], sizes: Mapping[str, int], device: torch.device) -> None:
        self.laws, self.sizes = dict(laws), dict(sizes)
        numbers = [law.offset_and_scale for name, law in laws.items() for _ in range(sizes[name])]
        self._offset, self._scale = torch.tensor(numbers, device=device).reshape(-1, 2).unbind(-1)

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, size of all)."""
        device = self._offset.device
        standard = [law.standard((n, self.sizes[name]), generator, device) for name, law in self.laws.items()]
        values = self._offset + self._scale * torch.cat(standard, -1)
        for law, columns in zip(self.laws.values(), self.split(values), strict=True):
            if law.law == "log_uniform":
                columns.exp_()
        return values

    def split(self, values: Tensor) -> tuple[Tensor, ...]:
        """Views (n, size) of the draws of each law."""
        return values.split(list(self.sizes.values()), -1)


class Randomizer:
    """Applies the declared laws. ``samples[name]`` (N, size) are the draws in force, for privileged observations."""

    def __init__(self, laws: Mapping[str, Law], physics: Physics, parts: Parts) -> None:
        self._physics, self._columns = physics, Columns(parts, physics.device)
        mass = float(physics.model.body_mass[parts.base])
        if "base_mass" in laws and mass + laws["base_mass"].lowest <= 0:
            raise ValueError(f"base_mass: {laws['base_mass'].lowest:g} kg makes the base of {mass:.2f} kg vanish")
        self._nominal = {name: physics.model_field(name)[0].clone() for name in per_world_fields(laws)}
        self._constants = any(TARGETS[name].constants for name in laws)
        self._draws = Draws(laws, {name: TARGETS[name].size(parts) for name in laws}, physics.device)
        self._all = torch.zeros(physics.num_worlds, sum(self._draws.sizes.values()), device=physics.device)
        self.samples = dict(zip(laws, self._draws.split(self._all), strict=True))

    def draw(self, worlds: Tensor, generator: torch.Generator) -> None:
        """Give these worlds new physics."""
        if not self.samples:
            return
        values = self._draws(len(worlds), generator)
        self._all[worlds] = values
        rows = {name: nominal.expand(len(worlds), *nominal.shape).clone() for name, nominal in self._nominal.items()}
        for name, draw in zip(self.samples, self._draws.split(values.to(self._physics.dtype)), strict=True):
            TARGETS[name].write(rows, self._columns, draw)
        for name, fields in rows.items():
            self._physics.model_field(name)[worlds] = fields
        if self._constants:
            self._physics.set_const(worlds)


def robot_parts(
    model: mujoco.MjModel, base: str, foot_geoms: Sequence[str], joints: Sequence[str], actuators: Sequence[str]
) -> Parts:
    """Find a robot's pieces by name; links are the bodies below the base."""
    root = model.body(base).id
    links = [i for i in range(model.nbody) if i != root and model.body_rootid[i] == model.body_rootid[root]]
    return Parts(
        base=root,
        links=links,
        foot_geoms=[model.geom(name).id for name in foot_geoms],
        actuators=[model.actuator(name).id for name in actuators],
        dofs=[int(model.joint(name).dofadr[0]) for name in joints],
    )
