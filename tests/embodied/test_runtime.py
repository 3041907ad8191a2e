"""Random state, signals and kernels."""

from __future__ import annotations

import os
import random
import signal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from embodied import runtime
from embodied.runtime import (
    LITTLE,
    GracefulStop,
    fast_matmul,
    keep_memory,
    load_random_state,
    products,
    random_state,
    suited_to,
    use_threads,
)

CPU = torch.device("cpu")


def test_every_global_generator_goes_on_where_it_was() -> None:
    state = random_state(CPU)
    expected = torch.rand(3), np.random.rand(), random.random()
    load_random_state(state, CPU)
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(), random.random()) == expected[1:]


def test_the_first_signal_asks_and_the_second_acts() -> None:
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
    try:
        with GracefulStop() as stop:
            assert not stop.asked
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)


def test_fast_products_are_as_accurate_as_float32_and_the_setting_is_put_back() -> None:
    x, w = torch.randn(512, 64), torch.randn(64, 64)
    with fast_matmul(CPU):
        error = ((x @ w).double() - x.double() @ w.double()).abs().max()
    assert error < 1e-4
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_processor_that_would_round_to_bfloat16_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(runtime, "_matmul_is_float32", lambda: False)
    with fast_matmul(CPU) as fast:
        assert fast is False
        assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_lower_precision_is_asked_of_torch_and_put_back(precision: str) -> None:
    with fast_matmul(CPU, precision) as lowered:
        assert lowered and torch.get_float32_matmul_precision() == precision
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_probe_recognises_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime._matmul_is_float32()
    exact = torch.Tensor.__matmul__

    def rounded(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return exact(a.bfloat16(), b.bfloat16()).float() if a.dtype == torch.float32 else exact(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert not runtime._matmul_is_float32()


def test_threads_follow_the_request_then_the_variable_then_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert use_threads(2) == torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert use_threads() == 2  # as they are
        monkeypatch.delenv("OMP_NUM_THREADS")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
        assert use_threads() == 2
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "12")
        assert use_threads() == 1
        with pytest.raises(ValueError, match="num_threads=-1"):
            use_threads(-1)
    finally:
        torch.set_num_threads(before)


def test_keeping_memory_is_harmless_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keep_memory() in (True, False)

    def missing(_: object) -> None:
        raise OSError

    monkeypatch.setattr(runtime.ctypes, "CDLL", missing)
    assert keep_memory() is False


def test_little_work_takes_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for work, device, threads in ((1e6, "cpu", 1), (1e9, "cpu", 2), (1e6, "cuda", 2)):
            with suited_to(work, torch.device(device)):
                assert torch.get_num_threads() == threads
            assert torch.get_num_threads() == 2
        for grad, threads in ((True, 2), (False, 1)):  # without a gradient there is less to share out
            with torch.set_grad_enabled(grad), suited_to(1.5 * LITTLE, CPU):
                assert torch.get_num_threads() == threads
        with pytest.raises(ValueError, match="x"), suited_to(1.0, torch.device("cpu")):
            raise ValueError("x")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_tiny_work_leaves_the_fast_kernels_alone() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        for work, device, precision in ((1e6, "cpu", "highest"), (1e7, "cpu", "medium"), (1e6, "cuda", "medium")):
            with suited_to(work, torch.device(device)):
                assert torch.get_float32_matmul_precision() == precision
            assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_products_count_every_use_of_a_network_and_none_of_a_script() -> None:
    net: Any = torch.nn.Linear(3, 2)
    assert products(net, 10) == 10 * 8
    net.process = SimpleNamespace(steps=4)
    assert products(net, 10) == 4 * 10 * 8
    assert products(object(), 10) == 0
