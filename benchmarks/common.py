"""What the benchmarks share: the machine's description, medians, result files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Processor, CPUs that this process may use, load before the start, versions."""
    packages = ("mujoco", "torch", "gymnasium", "stable-baselines3", "rsl-rl-lib")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cpus": cpus,
        "load_before": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def rounds(
    sides: dict[str, Callable[[], float]],
    count: int,
    per_round: int,
    begin: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """Units a second of every side, in ``count`` alternating rounds of ``per_round`` units each.

    begin: called before each round with its number.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        begin(number)
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            rates[name].append(per_round / sides[name]())
    return rates


def memory_mb() -> dict[str, float]:
    """Resident memory of this process, now and at its peak [MB = 1e6 bytes]; Linux only."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(fields[name].split()[0]) * 1024 / 1e6 for key, name in (("now", "VmRSS"), ("peak", "VmHWM"))}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and the values themselves."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def report(name: str, value: float, bar: float, unit: str = "", at_most: bool = False) -> dict[str, Any]:
    """Print a figure beside its bar; returns both and whether it holds."""
    holds = value <= bar if at_most else value >= bar
    print(f"{name}: {value:.3g}{unit} (bar: {'<=' if at_most else '>='} {bar:g}{unit}) {'ok' if holds else 'MISSED'}")
    return {"value": value, "bar": bar, "at_most": at_most, "holds": holds}


def write(path: str | Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")
