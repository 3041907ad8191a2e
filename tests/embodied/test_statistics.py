"""Intervals against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from embodied.statistics import mean_interval, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (45, 50), (450, 500), (1, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_scipy(successes: int, n: int, level: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_known_value() -> None:
    assert wilson(45, 50) == pytest.approx((0.786, 0.957), abs=5e-4)


def test_wilson_refuses_nonsense() -> None:
    for successes, n in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="need 0 <= successes <= n"):
            wilson(successes, n)


def test_mean_interval_equals_scipy() -> None:
    x = np.random.default_rng(0).normal(size=12)
    expected = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert mean_interval(x) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert mean_interval([2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
