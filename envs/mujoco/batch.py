"""Physics on CPU threads: ``mujoco.batch.Batch`` (MuJoCo 4.0, "Batched simulation").

Fields are zero-copy float64 views of the batch's state rows. Results are bit-identical at any thread count.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import DATA_FIELDS, MODEL_FIELDS, Batch, SimulationError
from torch import Tensor

_WARN = mujoco.mjtWarning
_BAD = [_WARN.mjWARN_BADQPOS.value, _WARN.mjWARN_BADQVEL.value, _WARN.mjWARN_BADQACC.value]


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class BatchPhysics:
    """N worlds of one model on CPU threads; see :class:`envs.mujoco.physics.Physics`."""

    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(
        self, model: mujoco.MjModel, num_worlds: int, *, per_world: Sequence[str] = (), num_threads: int = 0
    ) -> None:
        if num_worlds < 1:
            raise ValueError(f"num_worlds must be at least 1, got {num_worlds}")
        self.model = model
        self.num_worlds = num_worlds
        self._batch = Batch(model, num_worlds, num_threads or available_cpus())
        self._fields: dict[str, Tensor] = {}
        self._model_fields = {name: self._expand(name) for name in per_world}
        self._before = self._batch.state.copy()
        self._raised = np.zeros(num_worlds, bool)

    def _expand(self, name: str) -> Tensor:
        if name not in MODEL_FIELDS:
            raise ValueError(f"unknown model field {name!r}; see mujoco.batch.MODEL_FIELDS")
        return torch.from_numpy(self._batch.expand(name))

    def field(self, name: str) -> Tensor:
        if name not in self._fields:
            if name not in DATA_FIELDS:
                raise ValueError(f"unknown data field {name!r}; see mujoco.batch.DATA_FIELDS")
            self._fields[name] = _as_tensor(self._batch.bind(name))
        return self._fields[name]

    def model_field(self, name: str) -> Tensor:
        if name not in self._model_fields:
            raise ValueError(f"{name!r} has no value per world; per_world names {sorted(self._model_fields)}")
        return self._model_fields[name]

    def set_const(self, worlds: Tensor | None = None) -> None:
        self._batch.set_const(_ids(worlds))

    def step(self, substeps: int) -> None:
        np.copyto(self._before, self._batch.state)
        self._raised[:] = False
        try:
            self._batch.step(nstep=substeps)
        except SimulationError as error:
            self._raised[error.ids] = True

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        if len(worlds) == 0:
            return
        ids = _ids(worlds)
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.field("qpos")[worlds] = qpos.to(self.dtype)
        self.field("qvel")[worlds] = qvel.to(self.dtype)
        self._batch.forward(ids)

    def forward(self, worlds: Tensor | None = None) -> None:
        self._batch.forward(_ids(worlds))

    def failed(self) -> Tensor:
        bad = self._batch.warning[:, _BAD, 1].any(axis=1) | self._raised
        return torch.from_numpy(bad | ~np.isfinite(self._batch.state).all(axis=1))

    def failure(self, world: int) -> dict[str, Any]:
        spec = mujoco.mjtState.mjSTATE_INTEGRATION.value
        fields = {name: value[world].clone() for name, value in self._model_fields.items()}
        before = torch.from_numpy(self._before[world].copy())
        return {"state": before, "ctrl": self.field("ctrl")[world].clone(), "state_spec": spec, "model_fields": fields}

    def get_model_data(self, world: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self._batch.get_model(world, copy.copy(self.model))
        data = self._batch.get_data(world)
        mujoco.mj_forward(model, data)
        return model, data

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": torch.from_numpy(self._batch.state.copy()),
            "warning": torch.from_numpy(self._batch.warning.copy()),
            "model_fields": {name: value.clone() for name, value in self._model_fields.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["state"].shape != self._batch.state.shape:
            raise ValueError(f"state of shape {tuple(state['state'].shape)} for {self._batch.state.shape}")
        for name, value in state["model_fields"].items():
            self.model_field(name).copy_(value)
        if self._model_fields:
            self._batch.set_const()
        self._batch.state[:] = state["state"].numpy()
        self._batch.warning[:] = state["warning"].numpy()

    def close(self) -> None:
        self._fields.clear()


def _ids(worlds: Tensor | None) -> np.ndarray | None:
    return None if worlds is None else worlds.cpu().numpy().astype(np.int32)


def _as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the same memory; that the batch's outputs are read-only holds by convention, torch has no such flag."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)
