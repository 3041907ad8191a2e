"""The choice of torch's build and the stamp, with installers that only pretend."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import bootstrap
from scripts.bootstrap import Pip, SetupError, Uv

PIN = bootstrap.pinned_torch()
VERSION = PIN.split("==")[1]


def program(folder: Path, name: str, text: str) -> Path:
    """An executable shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_INDEX", "PIP_FIND_LINKS", "UV_FIND_LINKS", "INSTALLER", "PYTHON"):
        monkeypatch.delenv(name, raising=False)


# Which build -------------------------------------------------------------------------------------------------------


def test_a_machine_with_a_gpu_gets_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", "echo 'GPU 0: Some Card'")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert bootstrap.chosen_build("auto") == "cuda"
    assert bootstrap.chosen_build("cpu") == "cpu"


@pytest.mark.parametrize("text", ["echo 'no devices were found' >&2; exit 6", "exit 0"])
def test_a_driver_without_a_gpu_gets_the_cpu(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", text)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert bootstrap.chosen_build("auto") == "cpu"
    assert bootstrap.chosen_build("cuda") == "cuda"


def test_no_driver_gets_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap.chosen_build("auto") == "cpu"


# Where the CPU build comes from ------------------------------------------------------------------------------------

UV = """
build={default}
for a in "$@"; do case "$a" in
  --torch-backend=cpu) build={backend};;
  --index-url) build={index};;
esac; done
[ "$build" = none ] && exit 1
echo "Would install 1 package" >&2
echo " + torch==$build" >&2
"""


def fake_uv(tmp_path: Path, default: str, backend: str = "none", index: str = "none") -> Uv:
    uv = program(tmp_path, "uv", UV.format(default=default, backend=backend, index=index))
    return Uv(tmp_path, str(uv))


def test_a_local_wheel_is_taken_as_it_is(tmp_path: Path) -> None:
    uv = fake_uv(tmp_path, f"{VERSION}+cpu")
    assert bootstrap.cpu_source(uv, tmp_path) == (uv, [])


def test_a_cuda_build_is_never_taken_for_the_cpu(tmp_path: Path) -> None:
    uv = fake_uv(tmp_path, VERSION, backend=f"{VERSION}+cpu")
    assert bootstrap.cpu_source(uv, tmp_path) == (uv, ["--torch-backend=cpu"])


def test_the_index_that_the_user_names_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_INDEX", "somewhere")
    uv = fake_uv(tmp_path, f"{VERSION}+cpu", index=f"{VERSION}+cpu")
    assert bootstrap.cpu_source(uv, tmp_path) == (uv, ["--index-url", "somewhere"])


def test_no_cpu_build_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"TORCH_INDEX=.*PIP_FIND_LINKS=.*TORCH=cuda"):
        bootstrap.cpu_source(fake_uv(tmp_path, VERSION, backend=f"{VERSION}+cu130"), tmp_path)


PIP = """
case "$*" in
  *--dry-run*) echo '{report}';;
  *"install"*uv*) cp {uv} {venv}/bin/uv;;
esac
"""


def fake_pip(tmp_path: Path, version: str) -> Pip:
    """An environment whose pip would install this version of torch, and can bring a uv that finds the CPU build."""
    uv = program(tmp_path / "spare", "uv", UV.format(default=VERSION, backend=f"{VERSION}+cpu", index="none"))
    report = json.dumps({"install": [{"metadata": {"name": "torch", "version": version}}]})
    program(tmp_path / "bin", "python", PIP.format(report=report, uv=uv, venv=tmp_path))
    return Pip(tmp_path)


def test_pip_takes_a_local_wheel(tmp_path: Path) -> None:
    pip = fake_pip(tmp_path, f"{VERSION}+cpu")
    assert bootstrap.cpu_source(pip, tmp_path) == (pip, [])


def test_where_pip_finds_cuda_only_uv_helps_out(tmp_path: Path) -> None:
    installer, arguments = bootstrap.cpu_source(fake_pip(tmp_path, VERSION), tmp_path)
    assert isinstance(installer, Uv)
    assert arguments == ["--torch-backend=cpu"]


def test_other_systems_have_one_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    pip = fake_pip(tmp_path, VERSION)
    assert bootstrap.cpu_source(pip, tmp_path) == (pip, [])


def test_uv_is_told_of_pips_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/a /b")
    assert bootstrap.surroundings()["UV_FIND_LINKS"] == "/a,/b"
    monkeypatch.setenv("UV_FIND_LINKS", "/c")
    assert bootstrap.surroundings()["UV_FIND_LINKS"] == "/c"
    assert not {"PIP_FIND_LINKS", "UV_FIND_LINKS"} & set(bootstrap.surroundings(local_wheels=False))


# What was installed ------------------------------------------------------------------------------------------------


def fake_torch(venv: Path, build: str, version: str = VERSION, packages: str = "") -> None:
    """An environment whose torch is of this build, beside these nvidia packages."""
    text = f"case \"$2\" in *torch.version*) echo '{build} {version}';; *distributions*) echo '{packages}';; esac"
    program(venv / "bin", "python", text)


def test_the_right_build_passes(tmp_path: Path) -> None:
    for build in ("cpu", "cuda"):
        fake_torch(tmp_path, build)
        bootstrap.assert_build(tmp_path, build)


@pytest.mark.parametrize(("found", "wanted"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_the_wrong_build_is_an_error(found: str, wanted: str, tmp_path: Path) -> None:
    fake_torch(tmp_path, found)
    with pytest.raises(SetupError, match=f"the {found.upper()} build .* where {wanted.upper()} was chosen"):
        bootstrap.assert_build(tmp_path, wanted)


def test_cuda_packages_on_a_cpu_machine_are_an_error(tmp_path: Path) -> None:
    fake_torch(tmp_path, "cpu", packages="nvidia-ml-py")
    bootstrap.assert_build(tmp_path, "cpu")
    fake_torch(tmp_path, "cpu", packages="nvidia-cublas nvidia-ml-py nvidia-nccl-cu13")
    with pytest.raises(SetupError, match="nvidia-cublas, nvidia-nccl-cu13"):
        bootstrap.assert_build(tmp_path, "cpu")


def test_a_torch_that_is_there_is_not_installed_again(tmp_path: Path) -> None:
    fake_torch(tmp_path, "cpu")
    bootstrap.install_torch(Uv(tmp_path, "/no/such/uv"), tmp_path, "cpu")
    with pytest.raises(SetupError):
        bootstrap.install_torch(Uv(tmp_path, "/no/such/uv"), tmp_path, "cuda")


def test_this_environment_has_the_build_it_says() -> None:
    import torch

    code = Path(sys.prefix)
    assert bootstrap.installed_build(code) == ("cuda" if torch.version.cuda else "cpu", torch.__version__.split("+")[0])


# The stamp ---------------------------------------------------------------------------------------------------------


def stamped(venv: Path, digest: str, extras: list[str]) -> Path:
    program(venv / "bin", "python", "")
    (venv / bootstrap.STAMP).write_text(json.dumps({"digest": digest, "extras": extras}))
    return venv


def test_a_complete_environment_is_left_alone(tmp_path: Path) -> None:
    venv = stamped(tmp_path, "abc", ["export", "view"])
    assert bootstrap.is_current(venv, "abc", ["view"])
    assert bootstrap.is_current(venv, "abc", [])


def test_what_makes_it_install_again(tmp_path: Path) -> None:
    venv = stamped(tmp_path, "abc", ["view"])
    assert not bootstrap.is_current(venv, "abd", ["view"])
    assert not bootstrap.is_current(venv, "abc", ["view", "gpu"])
    (venv / bootstrap.STAMP).write_text("{torn")
    assert not bootstrap.is_current(venv, "abc", [])
    assert not bootstrap.is_current(tmp_path / "nowhere", "abc", [])


def test_the_digest_depends_on_requirements_and_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((bootstrap.ROOT / name).read_bytes())
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    first = bootstrap.requirements_digest("cpu")
    assert first == bootstrap.requirements_digest("cpu") != bootstrap.requirements_digest("cuda")
    (tmp_path / "constraints.txt").write_text("torch==0.1\n")
    assert bootstrap.requirements_digest("cpu") != first


def test_a_second_call_installs_nothing(tmp_path: Path) -> None:
    venv = stamped(tmp_path, bootstrap.requirements_digest("cpu"), ["export"])
    before = (venv / bootstrap.STAMP).stat().st_mtime_ns
    assert bootstrap.main(["--torch", "cpu", "--extras", "export", "--venv", str(venv)]) == 0
    assert (venv / bootstrap.STAMP).stat().st_mtime_ns == before


# Interpreters ------------------------------------------------------------------------------------------------------


def test_an_interpreter_too_old_or_broken_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = program(tmp_path, "old", "echo 3 8")
    broken = program(tmp_path, "python3.14", "exit 127")
    good = program(tmp_path, "python3.12", "echo 3 12")
    monkeypatch.setattr(sys, "executable", str(old))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap._python_version(str(broken)) == (0,)
    assert bootstrap.suitable_python() == str(good)
    good.unlink()
    assert bootstrap.suitable_python() is None


def test_the_interpreter_that_the_user_names_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path, "mine", "echo 3 13")
    monkeypatch.setenv("PYTHON", str(mine))
    assert bootstrap.suitable_python() == str(mine)


def test_no_interpreter_and_no_uv_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(program(tmp_path, "old", "echo 3 8")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"Python 3\.11 to 3\.14 is needed"):
        bootstrap.make_venv(tmp_path / "venv")


def test_the_script_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-I", "-S", str(bootstrap.ROOT / "scripts" / "bootstrap.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--extras" in done.stdout
