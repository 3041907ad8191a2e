"""Intervals against scipy's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from embodied.statistics import Interval, bootstrap, holm, iqm, mcnemar, mean_interval, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (45, 50), (450, 500), (1, 1)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_scipy(successes: int, n: int, level: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_none_and_all_ends_at_the_end() -> None:
    for n in range(1, 300):
        assert wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0


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


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5, 8, 11])
def test_interquartile_mean_is_scipys(seeds: int) -> None:
    x = np.random.default_rng(seeds).normal(size=(3, seeds))
    np.testing.assert_allclose(iqm(x), stats.trim_mean(x, 0.25, axis=-1))


def test_interquartile_mean_by_hand() -> None:
    assert iqm(np.array([100.0, 1.0, 3.0, -50.0, 2.0])) == 2.0


def _mean(strata) -> np.ndarray:
    return np.mean(strata[0], axis=-1)


def test_bootstrap_is_scipys() -> None:
    x = np.random.default_rng(0).normal(2.0, 3.0, size=40)
    ours = bootstrap(_mean, [x], resamples=20_000)
    theirs = stats.bootstrap((x,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert ours.point == pytest.approx(x.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_bootstrap_draws_each_stratum_from_itself() -> None:
    constant = [np.full(5, 3.0), np.full(5, 1.0)]
    assert bootstrap(lambda strata: strata[0].mean(-1) - strata[1].mean(-1), constant) == Interval(2.0, 2.0, 2.0)


def test_bootstrap_is_repeatable_and_its_level_counts() -> None:
    x = [np.arange(10.0)]
    assert bootstrap(_mean, x, seed=3) == bootstrap(_mean, x, seed=3)
    narrow, wide = bootstrap(_mean, x, level=0.5), bootstrap(_mean, x, level=0.99)
    assert wide.low < narrow.low < narrow.point < narrow.high < wide.high


def test_one_seed_has_no_interval() -> None:
    found = bootstrap(_mean, [np.array([4.0])])
    assert found.point == 4.0 and math.isnan(found.low) and not found.known


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 3), (10, 2), (2, 10), (40, 61), (0, 7)])
def test_mcnemar_is_scipys_exact_binomial_test(first: int, second: int) -> None:
    n = first + second
    expected = stats.binomtest(first, n, 0.5).pvalue if n else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(5, 0) == 2 / 32
    assert mcnemar(1, 4) == pytest.approx(2 * (1 + 5) / 32)
    with pytest.raises(ValueError, match="need numbers of pairs, not -1 and 2"):
        mcnemar(-1, 2)


def test_holm_by_hand() -> None:
    # In order: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.5 * 1; the third may not be less than the second.
    assert holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closure_of_bonferroni(seed: int) -> None:
    """A hypothesis is rejected if every intersection that it is in is (Marcus, Peritz and Gabriel 1976)."""
    p = np.random.default_rng(seed).uniform(size=5) ** 3
    sets = [s for k in range(1, 6) for s in itertools.combinations(range(5), k)]
    expected = [max(min(1.0, len(s) * min(p[list(s)])) for s in sets if i in s) for i in range(5)]
    assert holm(p.tolist()) == pytest.approx(expected)
