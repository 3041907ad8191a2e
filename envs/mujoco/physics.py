"""The physics protocol: N simulations of one MuJoCo model, seen as torch tensors.

Two engines implement it, :class:`envs.mujoco.batch.BatchPhysics` (CPU threads, float64) and
:class:`envs.mujoco.warp.WarpPhysics` (CUDA, float32). A task written against the protocol runs on both.

Shapes follow MuJoCo's C arrays with a leading N: ``qpos`` (N, nq), ``xpos`` (N, nbody, 3), ``xmat`` (N, nbody, 9),
``sensordata`` (N, nsensordata), ``geom_friction`` (N, ngeom, 3). The dtype is the engine's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import mujoco
import torch
from torch import Tensor


@runtime_checkable
class Physics(Protocol):
    """N simulations of ``model``; ``worlds`` arguments are int64 index tensors on ``device``, None meaning all."""

    model: mujoco.MjModel
    num_worlds: int
    device: torch.device
    dtype: torch.dtype

    def field(self, name: str) -> Tensor:
        """Live (N, ...) view of an MjData field. State fields (qpos, qvel, ctrl, ...) may be written in place.

        Derived fields (xpos, sensordata, ...) are read-only; after ``step`` they describe the state before the last
        substep, as after ``mj_step``; after ``forward`` they are current.
        """

    def model_field(self, name: str) -> Tensor:
        """Live (N, ...) values of a model field that was named in ``per_world`` when the engine was made."""

    def set_const(self, worlds: Tensor | None = None) -> None:
        """Recompute the constants that derive from masses, inertias and lengths, after ``model_field`` was written."""

    def step(self, substeps: int) -> None:
        """Advance every world by ``substeps`` of ``model.opt.timestep`` with the controls in ``field('ctrl')``."""

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """Put these worlds at (n, nq), (n, nv), everything else at the model's defaults, then ``forward`` them."""

    def forward(self, worlds: Tensor | None = None) -> None:
        """Make the derived fields current without advancing time."""

    def failed(self) -> Tensor:
        """(N,) bool: worlds whose state became invalid (NaN, divergence, engine error) since their last ``reset``."""

    def failure(self, world: int) -> dict[str, Any]:
        """What is needed to replay the step that broke a world: the state before it, substeps, per-world fields."""

    def get_model_data(self, world: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world as C structures with derived fields computed, to render it."""

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""

    def close(self) -> None:
        """Release threads and device memory."""


def make_physics(
    model: mujoco.MjModel,
    num_worlds: int,
    *,
    engine: str = "auto",
    device: str | torch.device = "cpu",
    per_world: Sequence[str] = (),
    num_threads: int = 0,
) -> Physics:
    """Make N worlds of ``model``.

    Args:
        engine: ``batch`` (CPU threads), ``warp`` (CUDA, or warp's slow CPU device for parity checks), or ``auto``:
            ``warp`` on a CUDA device, else ``batch``.
        per_world: model fields that get a value per world, e.g. ``geom_friction``.
        num_threads: CPU threads of ``batch``; 0 takes every CPU this process may run on.
    """
    device = torch.device(device)
    if engine == "auto":
        engine = "warp" if device.type == "cuda" else "batch"
    if engine == "batch":
        if device.type != "cpu":
            raise ValueError(f"the engine batch runs on cpu, not on {device}; choose warp, or device cpu")
        from .batch import BatchPhysics

        return BatchPhysics(model, num_worlds, per_world=per_world, num_threads=num_threads)
    if engine == "warp":
        from .warp import WarpPhysics

        return WarpPhysics(model, num_worlds, per_world=per_world, device=device)
    raise ValueError(f"unknown physics engine {engine!r}; choose auto, batch or warp")
