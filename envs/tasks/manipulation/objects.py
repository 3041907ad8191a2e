"""What differs between worlds: friction and mass of the objects, drawn at every reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodied.configuration import choice, from_mapping

from ...mujoco.physics import Physics
from ...mujoco.randomization import Law

FIELDS = {"object_friction": ("geom_friction",), "object_mass": ("body_mass", "body_inertia")}
"""What can be randomised -> the model fields it needs per world."""


def parse_laws(config: Mapping[str, Any] | None) -> dict[str, Law]:
    """name -> law; unknown names and laws that reach 0 are errors."""
    laws = {}
    for name, options in (config or {}).items():
        choice("task.randomization", name, FIELDS)
        laws[name] = from_mapping(Law, options, f"task.randomization.{name}")
        if laws[name].lowest <= 0:
            raise ValueError(f"task.randomization.{name} reaches {laws[name].lowest:g}: must be above 0")
    return laws


def per_world_fields(laws: Mapping[str, Law]) -> list[str]:
    """Model fields that these laws write."""
    return sorted({field for name in laws for field in FIELDS[name]})


class ObjectRandomizer:
    """Friction (set) and mass (scaled, with the inertia) of the objects, one draw a world for all of them."""

    def __init__(self, laws: Mapping[str, Law], physics: Physics, objects: Sequence[str]) -> None:
        model = physics.model
        self._laws, self._physics = dict(laws), physics
        self._bodies = torch.tensor([model.body(name).id for name in objects], device=physics.device)
        owners = set(self._bodies.tolist())
        geoms = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in owners]
        self._geoms = torch.tensor(geoms, dtype=torch.long, device=physics.device)
        self._nominal = {name: physics.model_field(name)[0].clone() for name in per_world_fields(laws)}
        self.nominal_friction = float(model.geom_friction[geoms[0], 0]) if geoms else 0.0

    def draw(self, worlds: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Give these worlds new objects; their friction (n,) and mass scale (n,)."""
        friction = torch.full((len(worlds),), self.nominal_friction, device=worlds.device)
        scale = torch.ones_like(friction)
        rows = worlds[:, None]
        if "object_friction" in self._laws:
            friction = self._laws["object_friction"].draw((len(worlds),), generator, worlds.device)
            field = self._physics.model_field("geom_friction")
            field[rows, self._geoms, 0] = friction.to(field.dtype)[:, None].expand(-1, len(self._geoms))
        if "object_mass" in self._laws:
            scale = self._laws["object_mass"].draw((len(worlds),), generator, worlds.device)
            for name in FIELDS["object_mass"]:
                field, nominal = self._physics.model_field(name), self._nominal[name][self._bodies]
                shape = (-1, *[1] * nominal.ndim)
                field[rows, self._bodies] = nominal * scale.to(field.dtype).reshape(shape)
            self._physics.set_const(worlds)
        return friction, scale
