"""Where a result comes from: code, versions, machine, command, time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "mujoco", "mujoco-warp", "gymnasium", "onnx", "onnxruntime", "safetensors", "hydra-core")


def provenance(seed: int | None = None, command: Sequence[str] | None = None) -> dict[str, Any]:
    """As plain JSON types. command: the command line; default: this process's."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": seed,
        "command": list(command if command is not None else sys.argv),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "machine": machine(),
    }


def write(path: Path, seed: int | None = None, command: Sequence[str] | None = None) -> None:
    """Write ``provenance.json``."""
    path.write_text(json.dumps(provenance(seed, command), indent=2) + "\n", encoding="utf-8")


def commit(directory: Path | None = None) -> dict[str, Any]:
    """``{"hash": ..., "dirty": ...}`` of the checkout that holds this file; both None outside of one."""
    directory = directory or Path(__file__).resolve().parent
    head = _git(directory, "rev-parse", "HEAD")
    status = _git(directory, "status", "--porcelain")
    return {"hash": head, "dirty": None if head is None or status is None else bool(status)}


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """Processor, threads, memory, GPU and operating system; not the host's name."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None
