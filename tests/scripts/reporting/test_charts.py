from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from scripts.reporting.charts import (
    bars,
    interval,
    line_chart,
    log_ticks,
    nice_ticks,
    running_mean,
    tick_text,
    value_range,
)


def test_nice_ticks_cover_the_range():
    assert nice_ticks(0.0, 1.0) == [0, 0.25, 0.5, 0.75, 1.0]
    assert nice_ticks(0.13, 0.48) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert nice_ticks(-37, 90) == [-50, 0, 50, 100]
    assert nice_ticks(5.0, 5.0) == [5.0]


def test_log_ticks():
    assert log_ticks(1e-5, 1e-2) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert log_ticks(2e-4, 2e-3) == pytest.approx([2e-4, 5e-4, 1e-3, 2e-3])


def test_ticks_keep_their_digits():
    assert [tick_text(x) for x in (0.0125, 0.0, -2.5, 1250.0, 1e-5)] == ["0.0125", "0", "-2.5", "1,250", "1e-05"]


def test_running_mean_by_hand():
    assert running_mean(np.array([1.0, 2.0, 6.0, 7.0]), 1).tolist() == [1.5, 3.0, 5.0, 6.5]


def test_an_early_outlier_does_not_squeeze_the_rest():
    y = np.concatenate([[1e6], np.linspace(1, 2, 199)])
    low, high = value_range(y, running_mean(y, 2), None, log=False)
    assert high < 3 and low > 0.5
    assert value_range(y, running_mean(y, 2), 5.0, log=False)[1] > 5  # a target is always in view


def _points(svg: str) -> list[list]:
    data = ElementTree.fromstring(svg).get("data-points")
    assert data is not None
    return json.loads(data)


def test_a_line_chart_puts_values_where_they_belong():
    svg = line_chart([0, 1000, 2000], [0.0, 5.0, 10.0], target=10.0, label="Return <x>")
    root = ElementTree.fromstring(svg)  # it is well-formed
    points = _points(svg)
    assert [p[2] for p in points] == ["0", "1 k", "2 k"]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    assert xs[1] == pytest.approx((xs[0] + xs[2]) / 2, abs=0.1) and ys[0] > ys[1] > ys[2]
    target = next(node for node in root.iter() if node.get("class") == "target")
    assert float(target.get("y1", 0)) <= ys[2]
    assert root.get("aria-label") == "Return <x>"


def test_shares_end_at_their_most():
    svg = line_chart([0, 1, 2], [100.0, 100.0, 100.0], target=0.0, most=100.0)
    assert re.findall(r"class=.tick.[^>]*end.>([^<]*)<", svg) == ["0", "50", "100"]


def test_long_logs_are_thinned():
    x = np.arange(20_000.0)
    assert len(_points(line_chart(x.tolist(), np.sin(x / 3000).tolist()))) == 400


def test_log_scale_needs_no_zero():
    ElementTree.fromstring(line_chart([0, 1, 2], [1e-3, 1e-4, 0.0], log=True))
    assert "too few values" in line_chart([1], [1])


def test_constant_values_can_be_drawn():
    assert len(_points(line_chart([0, 1, 2], [0.0, 0.0, 0.0]))) == 3
    assert "nan" not in line_chart([0, 1, 2], [2.0, 2.0, 2.0])


def test_bars_are_in_proportion():
    root = ElementTree.fromstring(bars({"costs": -2.0, "pays": 8.0, "little": 2.0}))
    found = [(node.get("class"), float(node.get("width", 0))) for node in root.iter() if node.tag.endswith("rect")]
    assert [kind for kind, _ in found] == ["gain", "gain", "cost"]
    assert found[0][1] == pytest.approx(4 * found[1][1], abs=0.5) and found[1][1] == pytest.approx(found[2][1], abs=0.5)
    ElementTree.fromstring(bars({}))


def test_an_interval_stays_on_its_scale():
    root = ElementTree.fromstring(interval(-5.0, 0.5, 9.0, (0.0, 1.0)))
    reach = next(node for node in root.iter() if node.get("class") == "reach")
    assert (reach.get("x1"), reach.get("x2")) == ("4.0", "116.0")
