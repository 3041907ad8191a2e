from __future__ import annotations

import numpy as np
import pytest

from embodied.statistics import bootstrap
from scripts.benching.aggregate import (
    area,
    curve_of,
    difference,
    ratio,
    seconds_of,
    spread,
    steps_to,
)


def test_ratio_and_difference_are_means_over_tasks() -> None:
    strata = [np.array([2.0, 4.0]), np.array([6.0, 6.0]), np.array([9.0]), np.array([6.0])]
    assert ratio(strata) == pytest.approx((0.5 + 1.5) / 2)
    assert difference(strata) == pytest.approx((-3 + 3) / 2)


def test_ratio_to_nothing_is_unknown() -> None:
    assert not bootstrap(ratio, [np.ones(3), np.zeros(3)]).known
    assert not bootstrap(ratio, [np.ones(3), -np.ones(3)]).known


def test_spread_by_hand() -> None:
    strata = [np.array([x]) for x in (100.0, 90.0, 95.0, 50.0, 40.0, 30.0)]
    assert spread(strata, 3) == pytest.approx((0.1 + 0.4) / 2)
    resampled = [np.tile(x, (7, 1)) for x in strata]
    np.testing.assert_allclose(spread(resampled, 3), np.full(7, 0.25))


def test_area_by_hand() -> None:
    # 2 from 0 to 10, up to 4 at 20, 4 until 40: (20 + 30 + 80) / 40
    assert area(np.array([10.0, 20.0]), np.array([2.0, 4.0]), 40) == pytest.approx(3.25)
    # What lies beyond the budget counts only as the end of the line that leads there.
    assert area(np.array([0.0, 20.0]), np.array([0.0, 2.0]), 10) == pytest.approx(0.5)


def test_area_of_no_curve() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        area(np.array([]), np.array([]), 10)


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.0, 10.0), (1.0, 10.0), (2.0, 15.0), (3.0, 20.0), (4.0, 35.0), (9.0, 40.0)]
)
def test_steps_to_by_hand(threshold: float, expected: float) -> None:
    steps, values = np.array([10.0, 20.0, 30.0, 50.0]), np.array([1.0, 3.0, 3.0, 7.0])
    assert steps_to(steps, values, threshold, 40) == pytest.approx(expected)


def test_a_log_is_read() -> None:
    records = [
        {"step": 1, "collect_seconds": 1.0, "decide_seconds": 0.25, "update_seconds": 2.0},
        {"step": 2, "collect_seconds": 1.5, "decide_seconds": 0.5, "update_seconds": 3.0, "episode/return": 7.0},
    ]
    steps, values = curve_of(records, "episode/return")
    assert steps.tolist() == [2.0] and values.tolist() == [7.0]
    assert [len(x) for x in curve_of(records, "episode/success")] == [0, 0]
    assert seconds_of(records) == {"simulate": 1.75, "denoise": 0.75, "update": 5.0}
