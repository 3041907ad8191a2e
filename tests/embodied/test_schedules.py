"""Learning-rate rules at their edges."""

from __future__ import annotations

import math

import pytest

from embodied.schedules import adaptive_rate, cosine_rate, linear_rate


@pytest.mark.parametrize(
    ("rate", "kl", "expected"),
    [
        (1e-3, 0.021, 1e-3 / 1.5),
        (1e-3, 0.02, 1e-3),
        (1e-3, 0.005, 1e-3),
        (1e-3, 0.0049, 1.5e-3),
        (1.2e-5, 1.0, 1e-5),
        (9e-3, 0.0, 1e-2),
    ],
)
def test_adaptive_rate(rate: float, kl: float, expected: float) -> None:
    assert adaptive_rate(rate, kl, desired_kl=0.01) == pytest.approx(expected, rel=1e-12)


def test_linear_rate_ends_at_zero_and_stays_there() -> None:
    assert [linear_rate(2.0, p) for p in (0.0, 0.25, 1.0, 1.5)] == [2.0, 1.5, 0.0, 0.0]


def test_the_rate_falls_along_a_cosine() -> None:
    assert cosine_rate(1e-3, 1e-4, 0.0) == pytest.approx(1e-3)
    assert cosine_rate(1e-3, 1e-4, 0.5) == pytest.approx(5.5e-4)
    assert cosine_rate(1e-3, 1e-4, 0.25) == pytest.approx(1e-4 + 4.5e-4 * (1 + math.sqrt(0.5)))
    assert cosine_rate(1e-3, 1e-4, 1.0) == cosine_rate(1e-3, 1e-4, 2.0) == pytest.approx(1e-4)
