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
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION.value
_WATCHED = 2 * mujoco.mjtState.mjSTATE_CTRL.value - 1
"""What a step moves, and the controls. A state begins with them; forces from outside, which follow, are many and few
use them: their bad numbers show here after the step."""
_LIMITS = {
    _WARN.mjWARN_INERTIA.value: "the inertia matrix is close to singular; check masses, inertias and armature",
    _WARN.mjWARN_CONTACTFULL.value: 'contacts were dropped; enlarge <size memory="..."/> in the model',
    _WARN.mjWARN_CNSTRFULL.value: 'constraints were dropped; enlarge <size memory="..."/> in the model',
}


Parts = list[tuple[np.ndarray | None, int]]
"""A step: controls (N, nu), or None to leave them as they are, and for how many substeps."""


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
        self._watched = self._batch.state[:, : mujoco.mj_stateSize(model, _WATCHED)]
        self._controls = np.zeros((num_worlds, 0, model.nu))  # of every substep of the last schedule
        self._last: Parts = [(None, 1)]  # the last step, of every world
        self._broke_in: dict[int, Parts] = {}  # the step in which a failed world broke
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
        self._begin([(None, substeps)])
        self._guarded(self._batch.step, nstep=substeps)
        self._look()

    def step_schedule(self, schedule: Sequence[tuple[Tensor, int]]) -> None:
        """Advance by controls (N, nu) that hold for so many substeps each; see :class:`envs.mujoco.vec_env.Scheduled`.

        One call of the batch: a step for each control would load, save and wait for every world that often.
        """
        self._begin(self._note_controls(schedule))
        self._guarded(self._batch.rollout, self._controls.shape[1], control=self._controls, record=())
        if self._batch.warning.any():
            self._redo_stopped()
        self._look()

    def _note_controls(self, schedule: Sequence[tuple[Tensor, int]]) -> Parts:
        """Write a schedule out as the control of every substep; its parts are views of that."""
        shape = (self.num_worlds, sum(substeps for _, substeps in schedule), self.model.nu)
        if self._controls.shape != shape:
            self._controls = np.zeros(shape)
        parts: Parts = []
        start = 0
        for ctrl, substeps in schedule:
            self._controls[:, start : start + substeps] = ctrl.numpy()[:, None]
            parts.append((self._controls[:, start], substeps))
            start += substeps
        return parts

    def _begin(self, parts: Parts) -> None:
        """Keep what is needed to tell how a world broke in the step that follows."""
        healthy = ~self._failed
        np.copyto(self._before, self._batch.state, where=True if healthy.all() else healthy[:, None])
        self._last, self._moved = parts, True
        self._batch.warning[:] = 0  # what is counted from now on happened in this step

    def _redo_stopped(self) -> None:
        """A rollout leaves a world at its first warning; where that is no failure, the world goes the way by steps."""
        warned = self._batch.warning[:, :, 1]
        worlds = (warned.any(axis=1) & ~warned[:, _BAD].any(axis=1) & ~self._failed).nonzero()[0].astype(np.int32)
        self._batch.state[worlds], self._batch.warning[worlds] = self._before[worlds], 0
        for ctrl, substeps in self._last:
            if ctrl is not None:
                self._batch.bind("ctrl")[worlds] = ctrl[worlds]
            self._guarded(self._batch.step, worlds, nstep=substeps)

    def _look(self) -> None:
        """Find the worlds that broke in this step."""
        if self._batch.warning.any():
            self._fail(self._batch.warning[:, _BAD, 1].any(axis=1).nonzero()[0])
            self._report_limits()
        state, limit = self._watched, mujoco.mjMAXVAL
        # no np.dot here: the threads of its BLAS go on spinning afterwards, and hold up those of torch
        if not (state.max() < limit and state.min() > -limit):  # NaN compares false
            self._fail((~(np.abs(state) < limit).all(axis=1)).nonzero()[0])

    def _fail(self, worlds: np.ndarray) -> None:
        """These worlds broke, those that had not before in the last step."""
        self._failed[worlds] = True
        for world in worlds.tolist():
            if world not in self._broke_in:
                self._broke_in[world] = _of_world(self._last, world)

    def _guarded(self, call: Any, *args: Any, **kwargs: Any) -> None:
        """Run a batch call; worlds in which MuJoCo raised keep their state, and count as failed."""
        try:
            with quiet():
                call(*args, **kwargs)
        except SimulationError as error:
            self._fail(np.asarray(error.ids))

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
        for world in worlds.tolist() if self._broke_in else ():
            self._broke_in.pop(world, None)
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
        """Of a step by a schedule: its part that broke, or else the last, with that part's control in the state."""
        state, substeps = self._broken_part(world)
        fields = {name: value[world].clone() for name, value in self._model_fields.items()}
        return {"state": torch.from_numpy(state), "state_spec": _STATE, "substeps": substeps, "model_fields": fields}

    def _broken_part(self, world: int) -> tuple[np.ndarray, int]:
        """The state before the part in which this world broke, by C MuJoCo's steps up to it; the part's substeps."""
        model, state = self._batch.get_model(world, copy.copy(self.model)), self._before[world].copy()
        data = mujoco.MjData(model)
        mujoco.mj_setState(model, data, state, _STATE)
        *earlier, (ctrl, substeps) = self._broke_in.get(world) or _of_world(self._last, world)
        for early_ctrl, early_substeps in earlier:
            _control(data, early_ctrl)
            mujoco.mj_getState(model, data, state, _STATE)
            if _breaks(model, data, early_substeps):
                return state, early_substeps
        _control(data, ctrl)
        mujoco.mj_getState(model, data, state, _STATE)
        return state, substeps

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
        self._broke_in.clear()

    def close(self) -> None:
        for tensors in (self._state_fields, self._derived, self._model_fields):
            tensors.clear()
        for name in ("_batch", "_watched"):
            self.__dict__.pop(name, None)


def _of_world(parts: Parts, world: int) -> Parts:
    """A step as one world saw it, controls (nu,)."""
    return [(None if ctrl is None else ctrl[world].copy(), substeps) for ctrl, substeps in parts]


def _control(data: mujoco.MjData, ctrl: np.ndarray | None) -> None:
    if ctrl is not None:
        data.ctrl[:] = ctrl


def _breaks(model: mujoco.MjModel, data: mujoco.MjData, substeps: int) -> bool:
    """Step; whether the world became invalid."""
    try:
        with quiet():
            mujoco.mj_step(model, data, substeps)
    except mujoco.FatalError:
        return True
    return any(data.warning[kind].number for kind in _BAD)


def _ids(worlds: Tensor | None) -> np.ndarray | None:
    """World indices in the order that the batch wants them, ascending."""
    return None if worlds is None else np.sort(worlds.cpu().numpy()).astype(np.int32)


@torch.inference_mode(False)  # a view made in inference mode could not be written outside of it
def _as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the same memory. The batch's outputs are read-only, for which torch has no flag."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)
