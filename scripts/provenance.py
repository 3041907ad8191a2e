"""Where a result comes from: commit, versions, command line, machine. Written as ``provenance.json``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .config import ROOT

PACKAGES = ("embodied-rl-suite", "torch", "mujoco", "mujoco-warp", "gymnasium", "numpy", "hydra-core", "onnxruntime")
FILE = "provenance.json"


def collect(seed: int) -> dict[str, Any]:
    """Everything that says how a result was made, as plain JSON types."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command_line(),
        "seed": seed,
        "commit": commit(),
        "versions": {"python": platform.python_version(), **versions()},
        "machine": machine(),
    }


def write(run_dir: Path, seed: int) -> None:
    """Write ``provenance.json``; where there is one, the run was resumed: add to its ``resumed``."""
    path = run_dir / FILE
    record = collect(seed)
    if path.exists():
        first = json.loads(path.read_text(encoding="utf-8"))
        record = {**first, "resumed": [*first.get("resumed", []), record]}
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def command_line() -> str:
    """As it would be typed again: ``embodied train task=...``."""
    name = Path(sys.argv[0]).name
    arguments = sys.argv[1:]
    return shlex.join(["embodied" if name in ("embodied", "cli.py") else name, *arguments])


def commit() -> str | None:
    """The commit of the checkout, with ``+changes`` where files differ from it; None outside git."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return None
    return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, where installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, CPUs this process may use, memory [GB], GPUs, system."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cpus": usable_cpus(),
        "memory_gb": memory_gb(),
        "gpus": gpus,
        "torch_threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def memory_gb() -> float | None:
    """Memory of the machine in GB; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
