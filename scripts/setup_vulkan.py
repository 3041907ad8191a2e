"""Mesa's software Vulkan driver for this Python environment: ``python scripts/setup_vulkan.py``. Standard library only.

SAPIEN (ManiSkill's simulator) needs a Vulkan driver, and on a CPU lavapipe of Mesa >= 24.3: older ones cannot export
semaphores. On Debian and Ubuntu apt fetches the package from the release itself or from its backports, and its one
library unpacked into ``<environment>/share/embodied/vulkan``, where ``envs/maniskill/vulkan.py`` finds it: the system's
own OpenGL stays as it is, and no root is needed. Elsewhere it says what to install.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(sys.prefix) / "share" / "embodied" / "vulkan"
LIBRARY, DRIVER = "libvulkan_lvp.so", "lvp_icd.json"
PACKAGE = "mesa-vulkan-drivers"
OLDEST = (24, 3)
KEYRINGS = [Path(f"/usr/share/keyrings/{name}-archive-keyring.gpg") for name in ("debian", "ubuntu")]
ELSEWHERE = (
    f"install Mesa's Vulkan drivers, version {OLDEST[0]}.{OLDEST[1]} or later, by the system's package manager "
    "(Fedora: mesa-vulkan-drivers; Arch: vulkan-swrast), or a GPU's own driver; nothing else is needed then"
)


class SetupError(Exception):
    """What went wrong and how to mend it."""


def main() -> int:
    """Put the driver in place; 0 on success, 1 with a message otherwise."""
    try:
        if not works(FOLDER / LIBRARY):
            install()
    except SetupError as error:
        print(f"vulkan: {error}", file=sys.stderr)
        return 1
    write_driver()
    print(f"vulkan: the software driver is ready: {FOLDER / DRIVER}")
    return 0


def works(library: Path) -> bool:
    """It is there, and so is everything that it needs."""
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


def write_driver() -> None:
    """The file that names the driver to Vulkan's loader."""
    about = {"ICD": {"api_version": "1.3.0", "library_path": str(FOLDER / LIBRARY)}, "file_format_version": "1.0.0"}
    (FOLDER / DRIVER).write_text(json.dumps(about, indent=1) + "\n")


def install() -> None:
    """Fetch and unpack the package, and install what its library needs."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SetupError(ELSEWHERE)
    with tempfile.TemporaryDirectory() as scratch:
        package = fetch(Path(scratch))
        output(["dpkg-deb", "-x", str(package), f"{scratch}/unpacked"])
        library = next(Path(scratch, "unpacked").rglob(LIBRARY))
        FOLDER.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, FOLDER / LIBRARY)
        install_needed(package)
    try:
        ctypes.CDLL(str(FOLDER / LIBRARY))
    except OSError as error:
        raise SetupError(f"the driver does not load: {error}") from error


def fetch(scratch: Path) -> Path:
    """The package, by apt with lists of its own, so that the system's stay as they are."""
    seen: list[str] = []
    for pocket in ("", "-backports"):
        options = private_apt(scratch / f"apt{pocket}", sources(pocket))
        output(["apt-get", *options, "update", "-qq"])
        known = output(["apt-cache", *options, "madison", PACKAGE])
        seen = re.findall(r"^\s*\S+ \| (\S+) \|", known, re.MULTILINE) or seen
        if seen and number(seen[0]) >= OLDEST:
            output(["apt-get", *options, "download", "-qq", f"{PACKAGE}={seen[0]}"], cwd=scratch)
            return next(scratch.glob(f"{PACKAGE}_*.deb"))
    raise SetupError(f"the newest Mesa that apt has is {seen[0] if seen else 'none'}; {ELSEWHERE}")


def private_apt(folder: Path, lines: list[str]) -> list[str]:
    """Options for apt to use these sources, and to write into this folder alone."""
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "sources" / "vulkan.list").write_text("".join(f"{line}\n" for line in lines))
    where = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": str(folder / "sources"),
        "Dir::State::Lists": str(folder / "lists"),
        "Dir::Cache": str(folder / "cache"),
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    return [part for key, value in where.items() for part in ("-o", f"{key}={value}")]


def sources(pocket: str) -> list[str]:
    """A line for every release that apt is set up with, of its own archive: of ``pocket``, as in bookworm-backports."""
    layout = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = output(["apt-get", "indextargets", "--format", layout, "Created-By: Packages"]).splitlines()
    releases = sorted({(uri, suite) for uri, suite, component in map(str.split, listed) if component == "main"})
    plain = [(uri, suite) for uri, suite in releases if suite.isalpha()]  # not its updates, nor others' archives
    if not plain:
        raise SetupError(f"apt has no release among its sources; {ELSEWHERE}")
    keys = ",".join(str(path) for path in KEYRINGS if path.exists())
    trust = f"[signed-by={keys}] " if keys else ""
    return [f"deb {trust}{uri} {suite}{pocket} main" for uri, suite in plain]


def number(version: str) -> tuple[int, int]:
    """(24, 3) of ``24.3.1-2``."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def install_needed(package: Path) -> None:
    """The packages that this one names, if the library does not load without; their versions do not matter here."""
    if works(FOLDER / LIBRARY):
        return
    depends = output(["dpkg-deb", "-f", str(package), "Depends"])
    names = [re.split(r"[ (|:]", part.strip())[0] for part in depends.split(",")]
    if os.geteuid() != 0:
        raise SetupError(f"its library needs other packages: sudo apt-get install {' '.join(names)}")
    output(["apt-get", "update", "-qq"])
    output(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names])


def output(command: list[str], cwd: Path | None = None) -> str:
    """What a command prints; SetupError if it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    if done.returncode:
        raise SetupError(f"{' '.join(command[:1] + command[-2:])} failed:\n{done.stderr.strip()[-600:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
