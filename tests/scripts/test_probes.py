from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from embodied.gradients import missing_compiler
from scripts import probes
from tests.test_packaging import DISTRIBUTIONS, EXTRAS


def test_attempt_reports_success_failure_and_silence() -> None:
    assert probes.attempt("print('a'); print('b')") == (True, "b")
    assert probes.attempt("raise ValueError('no')") == (False, "ValueError: no")
    assert probes.attempt("import os; os._exit(3)") == (False, "exit status 3")
    assert probes.attempt("import os; os.abort()")[0] is False
    assert probes.attempt("import time; time.sleep(9)", timeout=0.2) == (False, "no answer within 0 s")


def test_attempt_sets_variables() -> None:
    assert probes.attempt("import os; print(os.environ['MUJOCO_GL'])", MUJOCO_GL="osmesa") == (True, "osmesa")


def test_the_core_of_this_machine_works() -> None:
    """The tests could not run otherwise."""
    checks = probes.core()
    assert {check.name: check.detail for check in checks if check.status == "broken"} == {}
    assert {"Python", "torch", "MuJoCo", "Video"} <= {check.name for check in checks}


def test_a_backend_that_cannot_draw_is_missing_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "attempt", lambda *_, **__: (False, "ImportError: libEGL.so.1"))
    check = probes.draws("egl")
    assert check.status == "missing"
    assert "libEGL.so.1" in check.detail
    assert check.mend.endswith("apt-get install -y libegl1 libgl1")


def test_a_missing_compiler_is_named_and_one_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "attempt", lambda *_, **__: (False, "a header is missing"))
    check = probes.compiler()
    assert (check.status, check.detail.split(";")[0]) == ("missing", "a header is missing")
    assert check.mend.endswith("g++ python3-dev")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "there is no C++ compiler 'no-such-compiler'" in probes.compiler().detail


def test_the_compiler_is_tried() -> None:
    if missing_compiler(torch.device("cpu")):
        pytest.skip("no compiler")
    fine, said = probes.attempt(probes.COMPILE)
    assert fine, said
    assert probes.attempt(probes.COMPILE.replace("* 2)(x)", "* 3)(x)"))[0] is False


@pytest.mark.render
def test_egl_draws_here() -> None:
    check = probes.draws("egl")
    if check.status != "ok":
        pytest.skip(check.detail)
    assert check.mend == ""


def test_an_extra_that_is_not_installed() -> None:
    check = probes.extra("vla", ("surely_not_installed", "json"))
    assert (check.status, check.detail) == ("missing", "surely_not_installed not installed")
    assert "vla" in check.mend


def test_an_extra_that_is_there_and_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_extra.py").write_text("raise ImportError('its library is gone')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = probes.extra("view", ("broken_extra",))
    assert (check.status, check.detail) == ("broken", "ImportError: its library is gone")


def test_an_extra_that_works() -> None:
    assert probes.extra("view", ("json", "csv")).status == "ok"


def test_every_extra_is_probed_by_modules_that_it_brings() -> None:
    assert set(probes.EXTRAS) == set(EXTRAS)
    for name, modules in probes.EXTRAS.items():
        brought = " ".join(EXTRAS[name]).lower().replace("-", "_")
        assert all(DISTRIBUTIONS.get(module, module).lower().replace("-", "_") in brought for module in modules), name


def test_a_gpu_that_torch_cannot_use_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: Some Card (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(probes, "attempt", lambda *_, **__: (False, "AssertionError"))
    (check,) = probes.cuda()
    assert check.status == "broken"
    assert "GPU 0: Some Card" in check.detail and "UUID" not in check.detail
    assert "TORCH=cuda" in check.mend


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", absent)
    assert probes.cuda()[0].status == "missing"
