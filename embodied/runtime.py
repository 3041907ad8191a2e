"""What a training process sets up around itself: random generators, signals, the matrix kernels."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every global random generator that the learner may draw from."""
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def load_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put back :func:`random_state`."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class GracefulStop:
    """Turns the first SIGINT or SIGTERM into ``asked``; the second one acts as usual."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()


def use_threads(requested: int = 0) -> int:
    """Set torch's threads and return their number.

    requested: 0 means OMP_NUM_THREADS if that is set, else the processors that this process may use, shared among
        the processes that torchrun started here; never more than 16, since the networks are small.
    """
    if requested < 0:
        raise ValueError(f"num_threads={requested}: must be 0 (automatic) or more")
    if requested == 0 and "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    threads = requested or max(1, min(16, cpus // local))
    torch.set_num_threads(threads)
    return threads


LITTLE = 5e7
"""Rows times parameters below which one thread is faster than two: torch's threads wait passively, since the simulation
needs the processors, and waking them for every product takes longer than the product (measured with perceptrons: at 64
rows one thread is 2.4 to 3.6 times as fast; they break even at about 5e7, and at twice that without a gradient)."""


def products(policy: Any, rows: float) -> float:
    """Rows times parameters, as often as a policy that denoises uses them: what its networks cost, roughly.

    0 for one that is no module, such as a script.
    """
    if not hasattr(policy, "parameters"):
        return 0.0
    process = getattr(policy, "process", None)
    return rows * sum(p.numel() for p in policy.parameters()) * (1 if process is None else process.steps)


MATMUL_PRECISIONS = ("highest", "high", "medium")

TINY = 2.5e6
"""Rows times parameters below which oneDNN's products are the slower ones, see :func:`fast_matmul`: getting ready takes
them 10 us, whatever the size (measured at 16, 64 and 256 rows with layers of 64, 128 and 256: even at 2.2e6 to 2.5e6;
with 64 rows and layers of 64, an update with oneDNN takes twice as long)."""


@contextlib.contextmanager
def suited_to(work: float, device: torch.device) -> Iterator[None]:
    """Within this context torch computes as is best for so much work, rows times parameters.

    On one thread if it is little, and without the kernels of :func:`fast_matmul` if it is tiny.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    little = LITTLE if torch.is_grad_enabled() else 2 * LITTLE
    if device.type == "cpu":
        torch.set_num_threads(1 if work < little else threads)
        torch.set_float32_matmul_precision("highest" if work < TINY else precision)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def keep_memory() -> bool:
    """Have glibc keep freed memory for the next minibatch; returns whether it does (not on other systems).

    By default, activations of a few MB go back to the system after every use and return as page faults: measured, a
    tenth of the update, and more on a busy machine.
    """
    trim_threshold, mmap_threshold = -1, -3  # parameters of mallopt(3)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(mmap_threshold, 32 << 20)) and bool(mallopt(trim_threshold, 512 << 20))


@contextlib.contextmanager
def fast_matmul(device: torch.device, precision: str = "highest") -> Iterator[bool]:
    """Multiply float32 matrices by the fastest kernels that a precision allows; yields whether torch's setting changed.

    ``highest`` is float32 and nothing less; ``high`` allows TF32 (CUDA); ``medium`` allows bfloat16 inside, summed up
    in float32 (CUDA, and CPUs with AMX). Parameters and activations stay float32. What acts and what learns round
    alike, so that the first ratios of a policy are still 1. :func:`suited_to` goes back to ``highest`` for products
    that are too small to gain from anything else.
    """
    before = torch.get_float32_matmul_precision()
    lowered = precision != "highest" or _onednn_is_float32(device)
    if lowered:
        torch.set_float32_matmul_precision("medium" if precision == "highest" else precision)
    try:
        yield lowered
    finally:
        torch.set_float32_matmul_precision(before)


def _onednn_is_float32(device: torch.device) -> bool:
    """Whether torch at precision "medium" multiplies by oneDNN's AVX-512 kernels, and these by float32.

    With MKL, torch multiplies float32 matrices on AMD processors at less than half their speed. "medium" allows
    bfloat16, too, and processors with AMX would use it: so this looks at what the setting really does here.
    """
    if device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        return _matmul_is_float32()
    finally:
        torch.set_float32_matmul_precision(before)


def _matmul_is_float32() -> bool:
    """Whether products forward and backward (x w, x^T w) are as accurate as float32 makes them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 96, generator=generator)
    w = torch.randn(96, 128, generator=generator)
    y = torch.randn(1024, 128, generator=generator)
    errors = [((x @ w).double() - x.double() @ w.double()).abs().max()]
    errors.append(((x.t() @ y).double() - x.t().double() @ y.double()).abs().max())
    return bool(max(errors) < 1e-3)  # float32: about 3e-5; bfloat16: about 0.2
