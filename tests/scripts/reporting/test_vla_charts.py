from __future__ import annotations

import re
from xml.etree import ElementTree

from scripts.reporting import vla_charts as charts


def figure(mean: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": None if mean is None else mean - 0.1, "high": None if mean is None else mean + 0.1}


def test_a_curve_runs_from_left_to_right_and_up() -> None:
    drawn = charts.curves({"a & b": [(0.0, figure(0.2)), (0.5, figure(0.8))], "none": [(0.0, figure(None))]}, "x < y")
    tree = ElementTree.fromstring(drawn)
    lines = [node.get("points") for node in tree.iter("polyline")]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in (lines[0] or "").split())
    assert (x0, x1) == (charts.LEFT, charts.WIDTH - charts.RIGHT) and y0 > y1
    assert lines[1] == "" and len(re.findall('class="reach', drawn)) == 2


def test_stacked_bars_are_of_full_length() -> None:
    tree = ElementTree.fromstring(
        charts.stacked({"a<": {"success": 3, "dropped": 1}, "b": {"success": 0, "dropped": 0}})
    )
    widths = [float(node.get("width") or 0) for node in tree.iter("rect")]
    assert widths == [0.75 * charts.BAR_WIDTH, 0.25 * charts.BAR_WIDTH, 0.0, 0.0]
    assert next(node.text for node in tree.iter("title")) == "success: 3 of 4"


def test_colours_take_turns() -> None:
    assert charts.colour(0) == charts.colour(charts.COLOURS) == "c0"
    assert charts.legend(["<a>"]).count("&lt;a&gt;") == 1
