"""Make the environment of a bare checkout: ``python scripts/bootstrap.py --extras export,view --torch auto``.

Creates ``.venv`` (uv where present, else venv + pip), puts the CPU or the CUDA build of torch into it, checks that the
installed build is the one that was asked for, and installs the checkout with ``constraints.txt``. A stamp in the
environment keeps the digest of what was installed, so that a second call installs nothing. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 14)
STAMP = "embodied-stamp.json"


class SetupError(Exception):
    """What went wrong and how to mend it."""


def main(argv: list[str] | None = None) -> int:
    """Bring the environment up to date; 0 on success, 1 with a message otherwise."""
    args = _arguments(argv)
    extras = sorted(filter(None, args.extras.split(",")))
    venv = args.venv.resolve()
    try:
        build = chosen_build(args.torch)
        digest = requirements_digest(build)
        if is_current(venv, digest, extras):
            return 0
        extras = sorted({*extras, *installed_extras(venv)})
        installer = make_venv(venv)
        (venv / STAMP).unlink(missing_ok=True)
        install_torch(installer, venv, build)
        say(f"installing the suite and what it needs with {installer.name}; downloads take some minutes")
        installer.install(["--constraint", str(ROOT / "constraints.txt"), "--editable", editable(extras)])
        assert_build(venv, build)
        (venv / STAMP).write_text(json.dumps({"digest": digest, "extras": extras}) + "\n")
    except SetupError as error:
        print(f"\nsetup: {error}", file=sys.stderr)
        return 1
    say(f"the environment is ready: {venv} (torch for {build.upper()}; extras: {', '.join(extras) or 'none'})")
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Create or update the environment of this checkout.")
    parser.add_argument("--extras", default="", help="comma-separated extras of pyproject.toml")
    parser.add_argument("--torch", choices=["auto", "cpu", "cuda"], default="auto", help="which build of torch")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment is")
    return parser.parse_args(argv)


def say(message: str) -> None:
    """One line of progress."""
    print(f"setup: {message}", flush=True)


# What is wanted, and is it there already --------------------------------------------------------------------------


def chosen_build(wanted: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes CUDA where ``nvidia-smi`` lists a device."""
    if wanted != "auto":
        return wanted
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if listed.returncode == 0 and "GPU" in listed.stdout else "cpu"


def requirements_digest(build: str) -> str:
    """Changes when the requirements, the build of torch or the place of the checkout change."""
    digest = hashlib.sha256(f"{build} {ROOT}".encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp(venv: Path) -> dict:
    """What the last complete installation left; empty if there was none."""
    try:
        return json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}


def is_current(venv: Path, digest: str, extras: list[str]) -> bool:
    """The environment already holds all of this."""
    stamp = read_stamp(venv)
    complete = stamp.get("digest") == digest and set(extras) <= set(stamp.get("extras", []))
    return complete and interpreter(venv).exists()


def installed_extras(venv: Path) -> list[str]:
    """Extras of the last installation, which an update keeps."""
    return read_stamp(venv).get("extras", [])


def editable(extras: list[str]) -> str:
    """The checkout with these extras, as an installer's requirement."""
    return f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)


def interpreter(venv: Path) -> Path:
    """The environment's Python."""
    return venv / "bin" / "python"


# The two installers -----------------------------------------------------------------------------------------------


class Pip:
    """``python -m pip`` of the environment."""

    name = "pip"
    again = ("--force-reinstall",)

    def __init__(self, venv: Path) -> None:
        self.command = [str(interpreter(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]

    def install(self, arguments: list[str], *, local_wheels: bool = True) -> None:
        """Install, showing what happens."""
        call([*self.command, *arguments], surroundings(local_wheels))

    def torch_sources(self) -> list[list[str]]:
        """Arguments that may bring a CPU build of torch, in the order to try."""
        return [*_named_index(), []]

    def resolved_torch(self, arguments: list[str]) -> str:
        """The version of torch that these arguments would install; empty if none."""
        report = output([*self.command, "--dry-run", "--ignore-installed", "--no-deps", "--report", "-", *arguments])
        try:
            planned = [package["metadata"] for package in json.loads(report)["install"]]
            return next(package["version"] for package in planned if package["name"] == "torch")
        except (ValueError, KeyError, StopIteration):
            return ""


class Uv:
    """``uv pip`` for the environment."""

    name = "uv"
    again = ("--reinstall-package", "torch")

    def __init__(self, venv: Path, uv: str) -> None:
        self.command = [uv, "pip", "install", "--python", str(interpreter(venv))]

    def install(self, arguments: list[str], *, local_wheels: bool = True) -> None:
        """Install, showing what happens."""
        call([*self.command, *arguments], surroundings(local_wheels))

    def torch_sources(self) -> list[list[str]]:
        """Arguments that may bring a CPU build of torch; uv knows the index of torch's builds by itself."""
        return [*_named_index(), [], ["--torch-backend=cpu"]]

    def resolved_torch(self, arguments: list[str]) -> str:
        """The version of torch that these arguments would install; empty if none."""
        planned = output([*self.command, "--dry-run", *self.again, "--no-deps", *arguments], stderr=True)
        found = re.findall(r"^ [+~] torch==(\S+)", planned, re.MULTILINE)
        return found[-1] if found else ""


def _named_index() -> list[list[str]]:
    """The package index that the user names in TORCH_INDEX."""
    return [["--index-url", os.environ["TORCH_INDEX"]]] if os.environ.get("TORCH_INDEX") else []


def surroundings(local_wheels: bool = True) -> dict[str, str]:
    """Environment variables of an installer: a folder of wheels that pip knows is uv's too, or is hidden from both."""
    env = dict(os.environ)
    links = env.get("PIP_FIND_LINKS", "").split()
    if not local_wheels:
        return {name: value for name, value in env.items() if name not in ("PIP_FIND_LINKS", "UV_FIND_LINKS")}
    return {"UV_FIND_LINKS": ",".join(links), **env} if links else env


def make_venv(venv: Path) -> Pip | Uv:
    """Create the environment where it is missing; the installer that serves it."""
    uv = None if os.environ.get("INSTALLER") == "pip" else shutil.which("uv")
    if os.environ.get("INSTALLER") == "uv" and uv is None:
        raise SetupError("INSTALLER=uv, but uv is not on the path; install it with 'pip install uv'")
    if not interpreter(venv).exists():
        python = suitable_python()
        if uv:
            say(f"creating {venv} with uv")
            call([uv, "venv", "--quiet", "--allow-existing", "--python", python or "3.12", str(venv)])
        elif python:
            say(f"creating {venv} with venv and pip")
            _plain_venv(python, venv)
        else:
            raise SetupError(f"Python {_version(OLDEST)} to {_version(NEWEST)} is needed, or uv, which brings its own")
    if uv:
        return Uv(venv, uv)
    if not succeeds([str(interpreter(venv)), "-m", "pip", "--version"]):
        call([str(interpreter(venv)), "-m", "ensurepip", "--upgrade"])
    return Pip(venv)


def _plain_venv(python: str, venv: Path) -> None:
    try:
        call([python, "-m", "venv", "--clear", str(venv)])
    except SetupError as error:
        package = "python3-venv (Debian, Ubuntu: apt-get install python3-venv)"
        raise SetupError(f"{error}\n{python} could not make an environment: install {package}, or install uv") from None


def suitable_python() -> str | None:
    """An interpreter of a supported version: PYTHON, this one, or the newest on the path."""
    versions = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for name in [os.environ.get("PYTHON", ""), sys.executable, *versions]:
        path = shutil.which(name) if name else None
        if path and OLDEST <= _python_version(path) <= NEWEST:
            return path
    return None


def _python_version(path: str) -> tuple[int, ...]:
    """(3, 11); (0,) where the interpreter does not run, as a version manager's shim may not."""
    shown = output([path, "-c", "import sys; print(*sys.version_info[:2])"]).split()
    return tuple(map(int, shown)) if len(shown) == 2 else (0,)


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


# torch ------------------------------------------------------------------------------------------------------------


def pinned_torch() -> str:
    """``torch==x.y.z`` of the constraints."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def install_torch(installer: Pip | Uv, venv: Path, build: str) -> None:
    """Install the pinned torch as a ``cpu`` or ``cuda`` build, unless it is there."""
    if installed_build(venv) == (build, pinned_torch().split("==")[1]):
        return
    if build == "cuda":
        say(f"installing {pinned_torch()} for CUDA with {installer.name}; this downloads some GB")
        # A folder of local wheels is preferred to the index, and may hold a CPU build.
        installer.install([*installer.again, pinned_torch()], local_wheels=False)
        return
    installer, source = cpu_source(installer, venv)
    say(f"installing {pinned_torch()} for the CPU with {installer.name}")
    installer.install([*installer.again, *source, pinned_torch()])


def cpu_source(installer: Pip | Uv, venv: Path) -> tuple[Pip | Uv, list[str]]:
    """An installer and the arguments with which it brings a CPU build; on Linux the plain package holds CUDA."""
    if sys.platform != "linux":
        return installer, []
    for source in installer.torch_sources():
        if installer.resolved_torch([*source, pinned_torch()]).endswith("+cpu"):
            return installer, source
    if installer.name == "pip":
        say("pip finds no CPU build of torch here; installing uv into the environment, which knows where it is")
        installer.install(["uv"])
        return cpu_source(Uv(venv, str(venv / "bin" / "uv")), venv)
    raise SetupError(
        f"no CPU build of {pinned_torch()} was found. Name a package index that has it (TORCH_INDEX=...), a folder "
        "with its wheel (PIP_FIND_LINKS=...), or take the larger CUDA build, which also runs on a CPU (TORCH=cuda)"
    )


def installed_build(venv: Path) -> tuple[str, str] | None:
    """(``cpu`` or ``cuda``, version) of the torch in the environment; None without one."""
    code = "import torch; print('cuda' if torch.version.cuda else 'cpu', torch.__version__.split('+')[0])"
    shown = output([str(interpreter(venv)), "-c", code]).split()
    return (shown[0], shown[1]) if len(shown) == 2 else None


def assert_build(venv: Path, build: str) -> None:
    """Fail when the environment did not end with the build that was chosen."""
    found = installed_build(venv)
    if found is None:
        raise SetupError("torch was installed but cannot be imported")
    if found[0] != build and sys.platform == "linux":
        raise SetupError(f"the {found[0].upper()} build of torch was installed where {build.upper()} was chosen")
    code = "import importlib.metadata as m; print(*{d.name for d in m.distributions() if d.name.startswith('nvidia-')})"
    # nvidia-ml-py, which ManiSkill asks for, is a few kilobytes of Python that look for a driver
    extra = set(output([str(interpreter(venv)), "-c", code]).split()) - {"nvidia-ml-py"}
    if build == "cpu" and extra:
        raise SetupError(f"CUDA packages were installed on a CPU machine: {', '.join(sorted(extra))}")


# Processes --------------------------------------------------------------------------------------------------------


def call(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command in the open; a failure is an error that shows it."""
    try:
        status = subprocess.run(command, env=env, check=False).returncode
    except OSError as error:
        status, command = 1, [*command, f"({error})"]
    if status:
        raise SetupError(f"this command failed: {' '.join(command)}")


def output(command: list[str], *, stderr: bool = False) -> str:
    """What a command prints (with ``stderr`` on both streams); empty if it failed."""
    streams = subprocess.STDOUT if stderr else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=streams, text=True, timeout=300, check=False, env=surroundings()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout


def succeeds(command: list[str]) -> bool:
    """The command exits with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
