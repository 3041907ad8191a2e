"""Charts as inline SVG: colours come from the page's CSS, so they follow its light and dark form."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence

import numpy as np

from .glossary import plain, steps

WIDTH, HEIGHT = 380, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 24
MOST_POINTS = 400
"""More points than pixels say nothing and make the file large."""


def line_chart(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    log: bool = False,
    target: float | None = None,
    most: float | None = None,
    label: str = "",
) -> str:
    """A figure over environment steps: what was logged, faintly, and its running mean.

    log: logarithmic values, all above 0.  target: a dashed line there.  most: no value can be larger.
    label: for screen readers.
    """
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    if len(x) < 2:
        return '<p class="missing">too few values for a curve</p>'
    smooth = running_mean(y, max(1, len(y) // 40))
    low, high = value_range(y, smooth, target, log)
    ticks = log_ticks(low, high) if log else nice_ticks(low, high)
    if most is not None:
        ticks, high = [tick for tick in ticks if tick <= most], min(high, most)
    if not log:
        low, high = min(low, ticks[0]), max(high, ticks[-1])

    def to_x(value: np.ndarray | float) -> np.ndarray:
        return LEFT + (np.asarray(value) - x[0]) / (x[-1] - x[0]) * (WIDTH - LEFT - RIGHT)

    def to_y(value: np.ndarray | float) -> np.ndarray:
        v, a, b = (np.log10(value), math.log10(low), math.log10(high)) if log else (np.asarray(value), low, high)
        return HEIGHT - BOTTOM - (np.clip(v, a, b) - a) / (b - a) * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(float(to_y(tick)), tick_text(tick)) for tick in ticks]
    parts += [_x_tick(float(to_x(tick)), steps(tick)) for tick in nice_ticks(x[0], x[-1], 4) if x[0] <= tick <= x[-1]]
    if target is not None and low <= target <= high:
        height = float(to_y(target))
        parts.append(f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    px, py = to_x(x)[keep], to_y(smooth)[keep]
    if len(y) > 20:
        parts.append(f'<polyline class="raw" points="{_points(px, to_y(y)[keep])}"/>')
    parts.append(f'<polyline class="curve" points="{_points(px, py)}"/>')
    parts.append(f'<circle class="end" cx="{px[-1]:.1f}" cy="{py[-1]:.1f}" r="3"/>')
    data = html.escape(json.dumps([[round(float(a), 1), round(float(b), 1), steps(x[k]), plain(float(smooth[k]))]
                                   for a, b, k in zip(px, py, keep, strict=True)]))  # fmt: skip
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}" '
        f"data-points='{data}'>{''.join(parts)}</svg>"
    )


def running_mean(y: np.ndarray, half: int) -> np.ndarray:
    """Mean over ``half`` values to either side, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(y)])
    index = np.arange(len(y))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(y))
    return (sums[last] - sums[first]) / (last - first)


def value_range(y: np.ndarray, smooth: np.ndarray, target: float | None, log: bool) -> tuple[float, float]:
    """Lowest and highest value to draw; early outliers do not squeeze the rest."""
    low, high = np.percentile(y, [2, 98]) if len(y) > 20 else (y.min(), y.max())
    low, high = min(low, smooth[len(smooth) // 10 :].min()), max(high, smooth[len(smooth) // 10 :].max())
    if target is not None:
        low, high = min(low, target), max(high, target)
    if log:
        positive = y[y > 0]
        low = max(low, positive.min() if len(positive) else 1e-12)
        return float(low / 1.3), float(max(high, low) * 1.3)
    pad = 0.04 * (high - low) or max(abs(high) * 0.1, 1e-6)
    return float(low - (pad if low < 0 else min(pad, low))), float(high + pad)


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About ``count`` round numbers that cover [low, high]."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in [low, high], with 2 and 5 between them where there would be few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low, high]


def tick_text(value: float) -> str:
    """Every digit of a round number: ``0.0125``, ``1,250``, ``1e-05``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def bars(values: dict[str, float]) -> str:
    """Horizontal bars around zero, one a name, largest first: what pays and what costs."""
    items = sorted(values.items(), key=lambda item: -item[1])
    gain, cost = (max((sign * value for _, value in items), default=0.0) for sign in (1, -1))
    scale = (640 - 130 - 60) / (max(gain, 0.0) + max(cost, 0.0) or 1.0)
    zero = 130 + max(cost, 0.0) * scale
    rows = []
    for i, (name, value) in enumerate(items):
        y, length = 20 * i, max(abs(value) * scale, 1.0)
        x = zero if value >= 0 else zero - length
        kind = "gain" if value >= 0 else "cost"
        rows.append(f'<text class="name" x="0" y="{y + 13}">{html.escape(name)}</text>')
        rows.append(f'<rect class="{kind}" x="{x:.1f}" y="{y + 3}" width="{length:.1f}" height="13" rx="2"/>')
        rows.append(f'<text class="value" x="{max(x + length, zero) + 6:.1f}" y="{y + 13}">{plain(value)}</text>')
    axis = f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{20 * len(items)}"/>'
    return f'<svg class="bars" viewBox="0 0 640 {20 * len(items) + 2}" role="img">{axis}{"".join(rows)}</svg>'


def interval(low: float, mean: float, high: float, ends: tuple[float, float]) -> str:
    """A mean with its interval, on a scale between two ends."""
    span = (ends[1] - ends[0]) or 1.0
    a, b, c = (4 + 112 * min(max((v - ends[0]) / span, 0.0), 1.0) for v in (low, mean, high))
    return (
        '<svg class="interval" viewBox="0 0 120 14" role="img"><line class="track" x1="4" x2="116" y1="7" y2="7"/>'
        f'<line class="reach" x1="{a:.1f}" x2="{max(c, a + 1):.1f}" y1="7" y2="7"/>'
        f'<circle class="end" cx="{b:.1f}" cy="7" r="3.5"/></svg>'
    )


def _grid(y: float, text: str) -> str:
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
    )


def _x_tick(x: float, text: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="middle">{text}</text>'


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
