"""Statistics of a feature, under the names that LeRobot's ``stats.json`` uses."""

from __future__ import annotations

from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def statistics(x: np.ndarray) -> dict[str, list[Any]]:
    """min, max, mean, std, count and quantiles of rows x (F, D), or of (F,) as (F, 1); lists of D numbers."""
    rows = x.reshape(len(x), -1).astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    values = np.quantile(rows, list(QUANTILES.values()), axis=0)
    named = {**found, **dict(zip(QUANTILES, values, strict=True))}
    return {**{name: value.tolist() for name, value in named.items()}, "count": [len(rows)]}


def image_statistics(frames: np.ndarray) -> dict[str, list[Any]]:
    """The same of images (F, height, width, 3) uint8, by channel in [0, 1]: lists of shape (3, 1, 1)."""
    # Every eighth pixel each way and at most 100 frames: close enough for a normaliser, and cheap.
    chosen = frames[:: max(1, len(frames) // 100), ::8, ::8] / 255.0
    by_channel = statistics(chosen.reshape(-1, 3))
    count = by_channel.pop("count")
    return {**{name: [[[v]] for v in values] for name, values in by_channel.items()}, "count": count}


def merged(parts: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Statistics of several parts as one: exact but for the quantiles, which become a mean weighted by count."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)
    share = counts / counts.sum()
    stacked = {name: np.array([part[name] for part in parts], dtype=np.float64) for name in parts[0] if name != "count"}
    weigh = {name: np.tensordot(share, x, 1) for name, x in stacked.items()}
    spread = np.tensordot(share, stacked["std"] ** 2 + (stacked["mean"] - weigh["mean"]) ** 2, 1)
    weigh |= {"min": stacked["min"].min(0), "max": stacked["max"].max(0), "std": np.sqrt(spread)}
    return {**{name: x.tolist() for name, x in weigh.items()}, "count": [int(counts.sum())]}
