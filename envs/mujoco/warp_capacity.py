"""How much room Warp reserves for contacts and constraints."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

_GEOM = mujoco.mjtGeom
_CONTACTS = {_GEOM.mjGEOM_SPHERE.value: 1, _GEOM.mjGEOM_CAPSULE.value: 2, _GEOM.mjGEOM_ELLIPSOID.value: 1}
_CONTACTS_ELSE = 4  # box, cylinder, mesh; and any shape on a height field


@dataclass(frozen=True)
class Capacity:
    """Room for contacts and constraints, which Warp has to reserve beforehand.

    nconmax: contacts a world, on average over the worlds; candidate pairs of the broad phase count too.
    njmax: constraint rows that no world may exceed.  nccdmax: as nconmax, of general convex pairs; None: nconmax.
    """

    nconmax: int
    njmax: int
    nccdmax: int | None = None

    @classmethod
    def of(cls, model: mujoco.MjModel, frictional: bool = False) -> Capacity:
        """A guess: every limit and friction loss active, and half of the moving geoms lying flat on something.

        frictional: every degree of freedom may get friction loss (it has a value per world).
        """
        contacts = _plausible_contacts(model)
        cone = 2 if model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL else 1
        condim = max([1, *model.geom_condim.tolist(), *model.pair_dim.tolist()])
        rows = condim if cone == 1 or condim == 1 else 2 * (condim - 1)
        friction = model.nv if frictional else int((model.dof_frictionloss > 0).sum())
        friction += int((model.tendon_frictionloss > 0).sum())
        limits = int(model.jnt_limited.sum()) + int(model.tendon_limited.sum())
        return cls(nconmax=2 * contacts, njmax=6 * model.neq + friction + limits + rows * contacts)


def _plausible_contacts(model: mujoco.MjModel) -> int:
    collides = ((model.geom_contype | model.geom_conaffinity) != 0) & (model.body_weldid[model.geom_bodyid] != 0)
    on_terrain = model.nhfield > 0
    counts = [_CONTACTS_ELSE if on_terrain else _CONTACTS.get(int(kind), _CONTACTS_ELSE) for kind in model.geom_type]
    most = int(np.array(counts)[collides].sum()) + 2 * model.npair
    flexible = 128 * model.nflex
    return max(8, min(most, max(16, most // 2)) + flexible)
