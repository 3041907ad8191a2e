"""Charts of the VLA benchmark as inline SVG; ``vla.css`` has their colours, ``c0`` to ``c9`` in turn."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 380, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 10, 34
COLOURS = 10
BAR_LEFT, BAR_WIDTH, BAR_HEIGHT = 130, 560, 22

Point = tuple[float, Mapping[str, Any]]
"""Strength, and the success there: mean, low, high."""


def colour(index: int) -> str:
    """The CSS class of the index-th series."""
    return f"c{index % COLOURS}"


def curves(series: Mapping[str, Sequence[Point]], label: str) -> str:
    """Success against strength, a line with its intervals for every policy."""
    most = max((x for points in series.values() for x, _ in points), default=1.0) or 1.0

    def to_x(x: float) -> float:
        return LEFT + x / most * (WIDTH - LEFT - RIGHT)

    def to_y(y: float) -> float:
        return HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    parts = [_rule(to_y(y), f"{100 * y:.0f}") for y in (0.0, 0.25, 0.5, 0.75, 1.0)]
    ticks = sorted({x for points in series.values() for x, _ in points})
    parts += [
        f'<text class="tick" x="{to_x(x):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{x:g}</text>' for x in ticks
    ]
    parts.append(
        f'<text class="tick" x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 3}" text-anchor="middle">strength</text>'
    )
    for index, points in enumerate(series.values()):
        seen = [(to_x(x), figure) for x, figure in points if figure["mean"] is not None]
        line = " ".join(f"{x:.1f},{to_y(figure['mean']):.1f}" for x, figure in seen)
        parts.append(f'<polyline class="line {colour(index)}" points="{line}"/>')
        parts += [
            f'<line class="reach {colour(index)}" x1="{x:.1f}" x2="{x:.1f}" y1="{to_y(figure["low"]):.1f}" '
            f'y2="{to_y(figure["high"]):.1f}"/>'
            for x, figure in seen
        ]
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}"'
    return f'<svg class="plain" {view}>{"".join(parts)}</svg>'


def stacked(counts: Mapping[str, Mapping[str, int]]) -> str:
    """What episodes came to: a bar of full length for every name, one colour an outcome."""
    rows = []
    for row, (name, by_kind) in enumerate(counts.items()):
        y, x, total = BAR_HEIGHT * row, float(BAR_LEFT), sum(by_kind.values()) or 1
        rows.append(f'<text class="name" x="0" y="{y + 14}">{html.escape(name)}</text>')
        for index, (kind, count) in enumerate(by_kind.items()):
            length = count / total * BAR_WIDTH
            told = f"<title>{html.escape(kind)}: {count} of {total}</title>"
            box = f'x="{x:.1f}" y="{y + 3}" width="{length:.1f}" height="{BAR_HEIGHT - 6}"'
            rows.append(f'<rect class="part {colour(index)}" {box}>{told}</rect>')
            x += length
    height = BAR_HEIGHT * len(counts) + 2
    return f'<svg class="plain" viewBox="0 0 {BAR_LEFT + BAR_WIDTH} {height}" role="img">{"".join(rows)}</svg>'


def legend(names: Sequence[str]) -> str:
    """Which colour is which."""
    boxes = (f'<span class="key"><i class="{colour(i)}"></i>{html.escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="legend">{"".join(boxes)}</p>'


def _rule(y: float, text: str) -> str:
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
    )
