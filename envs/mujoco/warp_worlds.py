"""n worlds on a Warp device: mujoco_warp's model and data, torch views of both, and graphs of what runs often."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from torch import Tensor

from .fields import STATE_FIELDS, did_you_mean
from .warp_capacity import Capacity
from .warp_kernels import find_invalid, keep_state

if wp.config.log_level == wp.LOG_INFO:
    wp.config.log_level = wp.LOG_WARNING  # else a line for each of some fifty kernel modules

# What mj_setConst reads, of the fields that mujoco_warp can hold per world, and what follows from it.
_BOUNDS = ("geom_aabb", "geom_rbound")
_CONSTANTS = (
    *("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_length0", "tendon_invweight0", "actuator_acc0"),
    *("cam_pos0", "cam_poscom0", "cam_mat0", "light_pos0", "light_poscom0", "light_dir0", "eq_data"),
)


def _batched(kind: type) -> set[str]:
    """Names of the array fields of a mujoco_warp dataclass whose first dimension may count worlds."""
    return {f.name for f in fields(kind) if (getattr(f.type, "shape", None) or ("",))[0] == "*"}


MODEL_FIELDS = (_batched(mjw.Model) & set(dir(mujoco.MjModel))) | {
    f"opt.{name}" for name in _batched(mjw.Option) & set(dir(mujoco.MjOption))
}
"""Model fields that can have a value per world."""


def constants_of(model: mujoco.MjModel, names: Iterable[str]) -> tuple[str, ...]:
    """Model fields, empty ones aside, that ``set_const`` recomputes when the fields of these names were written."""
    inputs = set(names) & set(mujoco.MjModel._setconst_inputs)
    constants = (*(_CONSTANTS if inputs else ()), *(_BOUNDS if "geom_size" in inputs else ()))
    return tuple(name for name in constants if np.size(getattr(model, name)))


@functools.cache
def _prepare_compiler(on_cpu: bool) -> None:
    """Say that the first use takes minutes. The CPU device is for checks: compile it soon, not well (12 s, not 30)."""
    cache = Path(wp.config.kernel_cache_dir or ".")
    if not any(cache.glob("wp_mujoco_warp*")):
        print(f"Warp compiles its kernels into {cache}; this takes up to some minutes, once.", file=sys.stderr)
    if on_cpu and not wp.is_cuda_available() and wp.config.optimization_level is None:
        wp.config.optimization_level = 0


class Worlds:
    """n worlds of ``model`` on one Warp device.

    per_world: model fields with a value for each world; every other field is shared.
    graphs: record each operation at its second run and replay it from then on (CUDA graphs; Warp's own on a CPU).
        What a graph was recorded with stays in its place: no array is ever replaced.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        n: int,
        device: torch.device,
        per_world: Iterable[str],
        capacity: Capacity,
        graphs: bool = True,
    ) -> None:
        self.n = n
        self.per_world = tuple(dict.fromkeys(per_world))
        self._c_model, self._c_data = model, mujoco.MjData(model)
        self._torch_device = device
        self._device = wp.get_device(str(device))
        self._use_graphs = graphs
        self._graphs: dict[Any, wp.Graph | None] = {}
        _prepare_compiler(self._device.is_cpu)
        with wp.ScopedDevice(self._device):
            self.model = self._put_model(model)
            room = {"nconmax": capacity.nconmax, "nccdmax": capacity.nccdmax, "njmax": capacity.njmax}
            self.data = mjw.make_data(model, nworld=n, **room)
            self.invalid = wp.zeros(n, dtype=bool)
            self.last_substeps = wp.ones(n, dtype=int)
            self._everywhere = wp.ones(n, dtype=bool)
            self._state = {name: self._flat(getattr(self.data, name)) for name in STATE_FIELDS}
            self._before = {name: wp.clone(array) for name, array in self._state.items()}
        wp.synchronize_device(self._device)

    def _put_model(self, model: mujoco.MjModel) -> mjw.Model:
        sizes = {name: self.n for name in self.per_world if "." not in name}
        put = mjw.put_model(model, batch_sizes=sizes)
        put.opt.warn_overflow = 0  # no prints from kernels; WarpPhysics reads the overflow flags
        put.opt.graph_conditional = self._device.is_cpu or wp.is_conditional_graph_supported()
        for name in self.per_world:
            if name.startswith("opt."):
                shared = getattr(put.opt, name[4:])
                setattr(put.opt, name[4:], wp.array(np.repeat(shared.numpy(), self.n, axis=0), dtype=shared.dtype))
        put.has_fluid |= not {"opt.density", "opt.viscosity", "opt.wind"}.isdisjoint(self.per_world)
        return put

    def _flat(self, array: wp.array) -> wp.array:
        """The array as (n, numbers a world), on the same memory."""
        if not array.size:
            return wp.empty((self.n, 0), dtype=float)
        flat: Any = wp.from_torch(wp.to_torch(array).view(self.n, -1))
        return flat

    # views ------------------------------------------------------------------------------------------------------

    def data_view(self, name: str) -> Tensor:
        """A data field as (n, *MuJoCo's shape), on the same memory."""
        array = getattr(self.data, name, None)
        if not hasattr(self._c_data, name) or not isinstance(array, wp.array):
            names = (f.name for f in fields(mjw.Data) if hasattr(self._c_data, f.name))
            raise ValueError(f"the warp engine has no data field {name!r}{did_you_mean(name, names)}")
        return self._view(array, np.shape(getattr(self._c_data, name)), name)

    def model_view(self, name: str) -> Tensor:
        """A per-world model field as (n, *MuJoCo's shape), on the same memory."""
        where, c_where, field = self.model, self._c_model, name
        if name.startswith("opt."):
            where, c_where, field = self.model.opt, self._c_model.opt, name[4:]
        return self._view(getattr(where, field), np.shape(getattr(c_where, field)), name)

    def before_view(self, name: str) -> Tensor:
        """A state field as it was when the last step began, of an invalid world the step that made it so."""
        return self._view(self._before[name], np.shape(getattr(self._c_data, name)), name)

    @torch.inference_mode(False)  # a view made in inference mode could not be written outside of it
    def _view(self, array: wp.array, shape: tuple[int, ...], name: str) -> Tensor:
        if 0 in shape:
            return torch.zeros((self.n, *shape), device=self._torch_device)
        tensor = wp.to_torch(array)
        if tensor.numel() != self.n * int(np.prod(shape)):
            raise ValueError(f"mujoco_warp keeps {name!r} in a layout of its own, {tuple(tensor.shape)}, not {shape}")
        return tensor.view(self.n, *shape)

    # operations -------------------------------------------------------------------------------------------------

    def step(self, substeps: int) -> None:
        """Advance every world; keeps the state before it, and marks what is invalid after it."""
        self._run(("step", substeps), lambda: self._launch_step(substeps))

    def forward(self) -> None:
        """Make derived fields current."""
        self._run("forward", lambda: mjw.forward(self.model, self.data))

    def reset(self) -> None:
        """Every world at the model's defaults."""
        self._run("reset", lambda: mjw.reset_data(self.model, self.data, self._everywhere))

    def set_const(self) -> None:
        """Recompute what derives from masses, inertias and lengths; derived data fields are garbage afterwards."""
        self._run("set_const", lambda: mjw.set_const(self.model, self.data, restore=False))

    def _launch_step(self, substeps: int) -> None:
        data = self.data
        for name, kept in self._before.items():
            if kept.size:
                wp.launch(keep_state, dim=kept.shape, inputs=[self.invalid, self._state[name]], outputs=[kept])
        for remaining in reversed(range(substeps)):
            with self._sensors(remaining == 0):
                mjw.step(self.model, data)
        inputs = [mujoco.mjMAXVAL, substeps, data.qpos, data.qvel, data.qacc, data.act, data.ctrl]
        wp.launch(find_invalid, dim=self.n, inputs=inputs, outputs=[self.invalid, self.last_substeps])

    @contextmanager
    def _sensors(self, on: bool) -> Iterator[None]:
        """Sensors need evaluating in the last substep only, unless they keep a history for their delays."""
        flags = self.model.opt.disableflags
        if not on and self._c_model.nhistory == 0:
            self.model.opt.disableflags = flags | int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
        try:
            yield
        finally:
            self.model.opt.disableflags = flags

    def _run(self, key: Any, launch: Callable[[], None]) -> None:
        """Run an operation in torch's current stream: directly the first time, which loads kernels, then as a graph."""
        if key not in self._graphs or not self._use_graphs:
            with self._stream():
                launch()
            self._graphs[key] = None
            return
        graph = self._graphs[key] or self._capture(launch)
        self._graphs[key] = graph
        wp.capture_launch(graph, stream=self._torch_stream())

    def _capture(self, launch: Callable[[], None]) -> wp.Graph:
        """Record on Warp's own stream, since torch's default stream cannot be recorded.

        Garbage collection waits: memory that is freed while a CUDA graph is being recorded spoils the recording.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            with wp.ScopedDevice(self._device), wp.ScopedCapture(device=self._device) as capture:
                launch()
        finally:
            if collecting:
                gc.enable()
        return capture.graph

    def _torch_stream(self) -> wp.Stream | None:
        return None if self._device.is_cpu else wp.stream_from_torch(self._torch_device)

    @contextmanager
    def _stream(self) -> Iterator[None]:
        with wp.ScopedDevice(self._device), wp.ScopedStream(self._torch_stream()):
            yield

    def close(self) -> None:
        """Free the graphs."""
        self._graphs.clear()
