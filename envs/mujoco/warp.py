"""Physics on mujoco_warp: CUDA, or Warp's slow CPU device for checks of parity. float32.

Fields are zero-copy torch views of Warp's arrays, in MuJoCo's shapes. All worlds step together as one recorded graph.

What concerns a few worlds only (``reset``, ``forward`` and ``set_const`` of some) must not touch the others, whose
derived fields describe the state before their last substep. mujoco_warp can only compute all of its worlds at once;
so there is a second, smaller set of worlds, the bench: the few are copied there, computed, and copied back.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

try:
    import mujoco_warp as mjw
    import warp as wp
except ImportError as error:
    raise ImportError("engine='warp' needs the extra 'gpu': pip install -e '.[gpu]'") from error

from .fields import STATE_FIELDS, did_you_mean
from .quiet import quiet
from .warp_capacity import Capacity
from .warp_worlds import MODEL_FIELDS, Worlds, constants_of

_OVERFLOW = mjw.OverflowType
_ENLARGE = {
    _OVERFLOW.NEFC: "njmax",
    _OVERFLOW.NJMAX_NNZ: "njmax",
    _OVERFLOW.BROADPHASE: "nconmax",
    _OVERFLOW.NARROWPHASE: "nconmax",
    _OVERFLOW.CCD: "nccdmax",
    _OVERFLOW.CONTACT_MATCH: "the model's <numeric name='contact_sensor_maxmatch'/>",
    _OVERFLOW.HFIELD: "the height field's cells, or take smaller geoms",
}
_OVERFLOW_PERIOD = 64  # steps between two looks at the overflow flags, since a look waits for the device


class WarpPhysics:
    """N worlds of one model on a Warp device; see :class:`envs.mujoco.physics.Physics`.

    Args:
        per_world: model fields with a value per world; the constants that derive from them come along.
        device: ``cuda``, ``cuda:1``, ... or ``cpu``.
        nconmax, njmax, nccdmax: room for contacts and constraints (see :class:`Capacity`); None: from the model.
        graphs: record and replay graphs; False launches kernel by kernel, to debug.

    Raises:
        ValueError: for per-world fields that mujoco_warp shares between worlds, naming those that it does not.
        NotImplementedError: for models with features that mujoco_warp lacks.
    """

    dtype = torch.float32

    @torch.inference_mode(False)  # a view made in inference mode could not be written outside of it
    def __init__(
        self,
        model: mujoco.MjModel,
        num_worlds: int,
        *,
        per_world: Sequence[str] = (),
        device: str | torch.device = "cuda",
        nconmax: int | None = None,
        njmax: int | None = None,
        nccdmax: int | None = None,
        graphs: bool = True,
    ) -> None:
        _check(model, num_worlds, per_world)
        self.model = model
        self.num_worlds = num_worlds
        self.device = _resolve(device)
        guess = Capacity.of(model, frictional="dof_frictionloss" in per_world)
        self.capacity = Capacity(nconmax or guess.nconmax, njmax or guess.njmax, nccdmax)
        self._per_world = tuple(per_world)
        self._constants = constants_of(model, per_world)
        batched = (*per_world, *self._constants)
        self._worlds = Worlds(model, num_worlds, self.device, batched, self.capacity, graphs)
        size = min(num_worlds, max(64, num_worlds // 16))
        self._bench = Worlds(model, size, self.device, batched, self.capacity, graphs)
        self._model_fields = {name: self._worlds.model_view(name) for name in self._worlds.per_world}
        self._bench_model_fields = {name: self._bench.model_view(name) for name in self._worlds.per_world}
        self._state_fields = {name: self._worlds.data_view(name) for name in STATE_FIELDS}
        self._derived: dict[str, Tensor] = {}
        self._bench_fields = {name: self._bench.data_view(name) for name in STATE_FIELDS}
        self._invalid = wp.to_torch(self._worlds.invalid)
        self._overflow = wp.to_torch(self._worlds.data.overflow)
        self._moved = False
        self._steps = 0
        self._reported = 0

    def field(self, name: str) -> Tensor:
        if name in self._state_fields:
            return self._state_fields[name]
        if name not in self._derived:
            self._derived[name] = self._bind(name)
        return self._derived[name]

    def _bind(self, name: str) -> Tensor:
        """A derived field; made current, since resets before now have not brought it back from the bench."""
        view = self._worlds.data_view(name)
        self._bench_fields[name] = self._bench.data_view(name)
        if self._moved:
            kept = {key: value.clone() for key, value in self._derived.items()}
            self._worlds.forward()
            for key, value in kept.items():
                self._derived[key].copy_(value)
        return view

    def model_field(self, name: str) -> Tensor:
        if name not in self._per_world:
            raise ValueError(f"{name!r} has no value per world; per_world names {sorted(self._per_world)}")
        return self._model_fields[name]

    def set_const(self, worlds: Tensor | None = None) -> None:
        if not self._constants:
            return
        for rows in self._split(worlds):
            self._bring_model(rows)
            self._bench.set_const()
            for name in self._constants:
                self._model_fields[name][rows] = self._bench_model_fields[name][: len(rows)]

    def step(self, substeps: int) -> None:
        self._moved = True
        self._worlds.step(substeps)
        if self._steps % _OVERFLOW_PERIOD == 0:
            self._report_overflow()
        self._steps += 1

    def reset(self, worlds: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        self._moved = True
        for begin in range(0, len(worlds), self._bench.n):
            rows = worlds[begin : begin + self._bench.n]
            n = len(rows)
            self._bring_model(rows)
            self._bench.reset()
            self._bench_fields["qpos"][:n] = qpos[begin : begin + n].to(self.dtype)
            self._bench_fields["qvel"][:n] = qvel[begin : begin + n].to(self.dtype)
            self._bench.forward()
            self._take_back(rows, self._state_fields)
            self._take_back(rows, self._derived)
            self._invalid[rows] = False
            self._overflow[rows] = 0

    def forward(self, worlds: Tensor | None = None) -> None:
        self._moved = True
        if worlds is None:
            self._worlds.forward()
            return
        for rows in self._split(worlds):
            self._bring_model(rows)
            for name, value in self._state_fields.items():
                self._bench_fields[name][: len(rows)] = value[rows]
            self._bench.forward()
            self._take_back(rows, self._derived)

    def _split(self, worlds: Tensor | None) -> tuple[Tensor, ...]:
        """Indices in portions that fit the bench."""
        every = torch.arange(self.num_worlds, device=self.device) if worlds is None else worlds
        return every.split(self._bench.n) if len(every) else ()

    def _bring_model(self, rows: Tensor) -> None:
        for name, value in self._model_fields.items():
            self._bench_model_fields[name][: len(rows)] = value[rows]

    def _take_back(self, rows: Tensor, names: Mapping[str, Tensor]) -> None:
        for name, value in names.items():
            value[rows] = self._bench_fields[name][: len(rows)]

    def failed(self) -> Tensor:
        return self._invalid.clone()

    def _report_overflow(self) -> None:
        """Say once per kind of overflow which room was too small."""
        bits = int(np.bitwise_or.reduce(self._overflow.cpu().numpy()))
        for flag, remedy in _ENLARGE.items():
            if bits & flag & ~self._reported:
                text = f"mujoco_warp: {flag.name} overflow, contacts or constraints were dropped; enlarge {remedy}"
                warnings.warn(f"{text} ({self.capacity}; said once)", RuntimeWarning, stacklevel=3)
        self._reported |= bits

    def failure(self, world: int) -> dict[str, Any]:
        before = {name: self._worlds.before_view(name)[world] for name in STATE_FIELDS}
        spec = mujoco.mjtState.mjSTATE_INTEGRATION.value
        state = np.zeros(mujoco.mj_stateSize(self.model, spec))
        mujoco.mj_getState(self.model, self._c_data(before), state, spec)
        fields = {name: self._model_fields[name][world].cpu().clone() for name in self._per_world}
        substeps = int(self._worlds.last_substeps.numpy()[world])
        return {"state": torch.from_numpy(state), "state_spec": spec, "substeps": substeps, "model_fields": fields}

    def _c_data(self, state: Mapping[str, Tensor]) -> mujoco.MjData:
        """State fields of one world as C data."""
        data = mujoco.MjData(self.model)
        for name, value in state.items():
            if name == "time":
                data.time = float(value)
            else:
                getattr(data, name)[...] = value.cpu().numpy()
        return data

    def get_model_data(self, world: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = copy.copy(self.model)
        for name, value in self._model_fields.items():
            where, field = (model.opt, name[4:]) if name.startswith("opt.") else (model, name)
            if np.ndim(getattr(where, field)):
                getattr(where, field)[...] = value[world].cpu().numpy()
            else:
                setattr(where, field, float(value[world]))
        data = self._c_data({name: value[world] for name, value in self._state_fields.items()})
        with quiet():
            mujoco.mj_forward(model, data)
        return model, data

    def state_dict(self) -> dict[str, Any]:
        groups = {"state": self._state_fields, "model_fields": self._model_fields, "derived": self._derived}
        return {key: {name: value.clone() for name, value in group.items()} for key, group in groups.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state["model_fields"]) != set(self._model_fields):
            raise ValueError(f"per-world fields {set(state['model_fields'])} for {set(self._model_fields)}")
        if state["state"]["qpos"].shape != self._state_fields["qpos"].shape:
            raise ValueError(f"qpos {tuple(state['state']['qpos'].shape)} for {tuple(self.field('qpos').shape)}")
        self._moved = True
        for group, target in (("state", self._state_fields), ("model_fields", self._model_fields)):
            for name, value in state[group].items():
                target[name].copy_(value)
        for name, value in state["derived"].items():
            self.field(name).copy_(value)
        self._invalid.zero_()

    def close(self) -> None:
        for tensors in (self._state_fields, self._derived, self._model_fields, self._bench_fields):
            tensors.clear()
        self._bench_model_fields.clear()
        for name in ("_worlds", "_bench"):
            worlds = self.__dict__.pop(name, None)
            if worlds is not None:
                worlds.close()


def _check(model: mujoco.MjModel, num_worlds: int, per_world: Sequence[str]) -> None:
    if num_worlds < 1:
        raise ValueError(f"num_worlds must be at least 1, got {num_worlds}")
    for name in per_world:
        if name not in MODEL_FIELDS:
            raise ValueError(f"mujoco_warp has no per-world values of {name!r}{did_you_mean(name, MODEL_FIELDS)}")
    if model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
        raise NotImplementedError("models that put bodies to sleep; disable <flag sleep=.../>")


def _resolve(device: str | torch.device) -> torch.device:
    """The device with its index, if it can be had."""
    device = torch.device(device)
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(f"the warp engine runs on cuda or cpu, not {device.type!r}")
    if not torch.cuda.is_available():
        raise RuntimeError("no CUDA device; take engine='batch', or device='cpu' for a check")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
