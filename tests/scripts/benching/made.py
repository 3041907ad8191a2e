"""Figures made by hand, without any job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scripts.benching.figures import Figures, Run, Start
from scripts.benching.protocol import Base, Method, Protocol, TaskPlan

BUDGET = 100
SCRATCHED = ("mlp_scratch", "ncdpo_k5_scratch", "ncdpo_k10_scratch", "ncdpo_k20_scratch", "dppo_k5_scratch")
TUNED = ("ncdpo", "dppo_k20", "reinflow_k4")


def protocol() -> Protocol:
    tasks = {"hopper": TaskPlan("hopper", threshold=10.0), "push": TaskPlan("push", "success", 0.8, scratch=False)}
    methods = [Method(name, "mlp", "scratch") for name in SCRATCHED] + [Method(name, "mlp", base="b") for name in TUNED]
    return Protocol(tasks, {"b": Base("b", "mlp")}, {method.name: method for method in methods})


def run(seed: int = 0, **figures: float) -> Run:
    numbers = {"auc": 1.0, "to_threshold": 50.0, "deterministic": 1.0, "stochastic": 1.0}
    seconds = {"simulate": 1.0, "denoise": 1.0, "update": 1.0}
    curve = np.array([1.0, 12.0])
    return Run(
        seed=seed, **{"steps": np.array([20.0, 80.0]), "curve": curve, "reached": True, **numbers, **seconds, **figures}
    )


def figures(
    values: Mapping[tuple[str, str], Sequence[Mapping[str, float]]], start: float = 0.4, demos: float = 0.45
) -> Figures:
    """(task, method) -> the figures of each seed."""
    runs = {key: [run(seed, **numbers) for seed, numbers in enumerate(each)] for key, each in values.items()}
    starts = {(task, "b"): Start(demos, start, start) for task, method in values if method in TUNED}
    return Figures(protocol(), BUDGET, runs, starts, dict.fromkeys(values, 3e-4))
