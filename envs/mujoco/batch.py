"""Physics on CPU threads: ``mujoco.batch.Batch`` (MuJoCo 4.0, "Batched simulation").

Fields are zero-copy float64 views of the batch's state rows. Results are bit-identical at any thread count.

A world whose numbers went bad is put back to the model's defaults by MuJoCo itself, in the middle of ``step``
(``mj_checkPos`` and its kin). ``failed()`` says so until ``reset``; before that its state means nothing.
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

from .fields import STATE_FIELDS, did_you_mean
from .quiet import quiet

_WARN = mujoco.mjtWarning
_BAD = [_WARN.mjWARN_BADQPOS.value, _WARN.mjWARN_BADQVEL.value, _WARN.mjWARN_BADQACC.value]
_LIMITS = {
    _WARN.mjWARN_INERTIA.value: "the inertia matrix is close to singular; check masses, inertias and armature",
    _WARN.mjWARN_CONTACTFULL.value: 'contacts were dropped; enlarge <size memory="..."/> in the model',
    _WARN.mjWARN_CNSTRFULL.value: 'constraints were dropped; enlarge <size memory="..."/> in the model',
}


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
        self._state_fields: dict[str, Tensor] = {}
        self._derived: dict[str, Tensor] = {}
        self._model_fields = {name: self._expand(name) for name in per_world}
        self._before = self._batch.state.copy()
        self._substeps = np.ones(num_worlds, int)
        self._moved = False  # the derived fields of MuJoCo differ from those of a fresh batch
        self._constants_set = False
        self._failed = np.zeros(num_worlds, bool)
        self._reported: set[int] = set()

    def _expand(self, name: str) -> Tensor:
        if name not in MODEL_FIELDS:
            raise ValueError(f"the batch engine has no per-world values of {name!r}{did_you_mean(name, MODEL_FIELDS)}")
        return _as_tensor(self._batch.expand(name))

    def field(self, name: str) -> Tensor:
        if name not in DATA_FIELDS:
            raise ValueError(f"unknown data field {name!r}{did_you_mean(name, DATA_FIELDS)}")
        if name in STATE_FIELDS:
            if name not in self._state_fields:
                self._state_fields[name] = _as_tensor(self._batch.bind(name))
            return self._state_fields[name]
        if name not in self._derived:
            self._derived[name] = self._bind(name)
        return self._derived[name]

    def _bind(self, name: str) -> Tensor:
        """A derived field's tensor. MuJoCo would fill it at its next call only, so one is made, unnoticed."""
        kept = {key: value.clone() for key, value in self._derived.items()}
        view = _as_tensor(self._batch.bind(name))
        if self._moved:
            self.forward()
            for key, value in kept.items():
                self._derived[key].copy_(value)
        return view

    def model_field(self, name: str) -> Tensor:
        if name not in self._model_fields:
            raise ValueError(f"{name!r} has no value per world; per_world names {sorted(self._model_fields)}")
        return self._model_fields[name]

    def set_const(self, worlds: Tensor | None = None) -> None:
        self._constants_set = True
        with quiet():
            self._batch.set_const(_ids(worlds))

    def step(self, substeps: int) -> None:
        healthy = ~self._failed
        self._substeps[healthy] = substeps
        np.copyto(self._before, self._batch.state, where=True if healthy.all() else healthy[:, None])
        self._moved = True
        self._batch.warning[:, :, 1] = 0  # what is counted below happened in this step
        self._guarded(self._batch.step, nstep=substeps)
        if self._batch.warning[:, :, 1].any():
            self._failed |= self._batch.warning[:, _BAD, 1].any(axis=1)
            self._report_limits()
        state, limit = self._batch.state, mujoco.mjMAXVAL
        # no np.dot here: the threads of its BLAS go on spinning afterwards, and hold up those of torch
        if not (state.max() < limit and state.min() > -limit):  # NaN compares false
            self._failed |= ~(np.abs(state) < limit).all(axis=1)

    def _guarded(self, call: Any, *args: Any, **kwargs: Any) -> None:
        """Run a batch call; worlds in which MuJoCo raised keep their state, and count as failed."""
        try:
            with quiet():
                call(*args, **kwargs)
        except SimulationError as error:
            self._failed[error.ids] = True

    def _report_limits(self) -> None:
        """Say once, as a Python warning, what MuJoCo would have logged about its limits."""
        for kind, text in _LIMITS.items():
            if kind not in self._reported and self._batch.warning[:, kind, 1].any():
                self._reported.add(kind)
                world = int(self._batch.warning[:, kind, 1].argmax())
                warnings.warn(f"MuJoCo, world {world}: {text} (said once)", RuntimeWarning, stacklevel=3)

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        if len(worlds) == 0:
            return
        self._failed[worlds.numpy()] = False
        self._guarded(self._batch.reset, _ids(worlds), stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self.field("qpos")[worlds] = qpos.to(self.dtype)
        self.field("qvel")[worlds] = qvel.to(self.dtype)
        self.forward(worlds)

    def forward(self, worlds: Tensor | None = None) -> None:
        self._moved = True
        self._guarded(self._batch.forward, _ids(worlds))

    def failed(self) -> Tensor:
        return torch.from_numpy(self._failed.copy())

    def failure(self, world: int) -> dict[str, Any]:
        fields = {name: value[world].clone() for name, value in self._model_fields.items()}
        return {
            "state": torch.from_numpy(self._before[world].copy()),
            "state_spec": mujoco.mjtState.mjSTATE_INTEGRATION.value,
            "substeps": int(self._substeps[world]),
            "model_fields": fields,
        }

    def get_model_data(self, world: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self._batch.get_model(world, copy.copy(self.model))
        data = self._batch.get_data(world)
        with quiet():
            mujoco.mj_forward(model, data)
        return model, data

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": torch.from_numpy(self._batch.state.copy()),
            "constants_set": torch.tensor(self._constants_set),
            "model_fields": {name: value.clone() for name, value in self._model_fields.items()},
            "derived": {name: value.clone() for name, value in self._derived.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["state"].shape != self._batch.state.shape:
            raise ValueError(f"state of shape {tuple(state['state'].shape)} for {self._batch.state.shape}")
        if set(state["model_fields"]) != set(self._model_fields):
            raise ValueError(f"per-world fields {set(state['model_fields'])} for {set(self._model_fields)}")
        for name, value in state["model_fields"].items():
            self.model_field(name).copy_(value)
        if state["constants_set"]:
            self.set_const()
        self._batch.state[:] = state["state"].numpy()
        for name, value in state["derived"].items():
            self.field(name).copy_(value)
        self._moved = True
        self._failed[:] = False

    def close(self) -> None:
        for tensors in (self._state_fields, self._derived, self._model_fields):
            tensors.clear()
        self.__dict__.pop("_batch", None)


def _ids(worlds: Tensor | None) -> np.ndarray | None:
    """World indices in the order that the batch wants them, ascending."""
    return None if worlds is None else np.sort(worlds.cpu().numpy()).astype(np.int32)


@torch.inference_mode(False)  # a view made in inference mode could not be written outside of it
def _as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the same memory. The batch's outputs are read-only, for which torch has no flag."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)
