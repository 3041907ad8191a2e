"""Figures by hand, from outcomes that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from embodied.statistics import holm, mcnemar
from scripts.benching import vla_figures as figures

from .vla_made import result

LEVEL = 0.95


def test_a_row_by_hand() -> None:
    found = figures.row_figures(result("unseen_table", "ssnwpdtc"), LEVEL)
    expected = stats.binomtest(2, 8).proportion_ci(LEVEL, method="wilson")
    end = found["success_at_end"]
    assert end == {"mean": 0.25, "low": pytest.approx(expected.low), "high": pytest.approx(expected.high), "n": 8}
    assert found["success_once"]["mean"] == 3 / 8  # what was dropped had been there
    assert sum(found["outcomes"].values()) == 8 and found["outcomes"]["crashed"] == 1
    assert found["outcomes"]["success"] == 2 and found["outcomes"]["dropped"] == 1
    assert found["episodes"] == "00123456"  # numbers of OUTCOMES


def test_nothing_counted_is_nothing_known() -> None:
    assert figures.proportion([], LEVEL) == {"mean": None, "low": None, "high": None, "n": 0}


def test_axes_and_what_is_retained() -> None:
    rows = {
        "in_distribution": result("in_distribution", "sssssssn"),  # 7 of 8
        "unseen_table": result("unseen_table", "ssssnnnn"),  # 1 / 2
        "noise_weak": result("noise_weak", "snnn"),  # 1 / 4, and counts as much as the row above
        "reposition": result("reposition", "nnnn"),
    }
    found = figures.axis_figures(rows, LEVEL, 500)
    assert list(found) == ["in_distribution", "vision", "execution"]
    assert found["vision"]["success"]["mean"] == pytest.approx(0.375) and found["vision"]["rows"] == 2
    assert found["vision"]["retention"]["mean"] == pytest.approx(0.375 / 0.875)
    assert found["vision"]["success"]["low"] < 0.375 < found["vision"]["success"]["high"]
    assert found["execution"]["success"] == figures.proportion([0, 0, 0, 0], LEVEL)
    assert found["execution"]["retention"]["mean"] == 0.0 and "retention" not in found["in_distribution"]


def test_nothing_is_retained_of_nothing() -> None:
    rows = {"in_distribution": result("in_distribution", "nn"), "unseen_table": result("unseen_table", "sn")}
    assert figures.axis_figures(rows, LEVEL, 50)["vision"]["retention"]["mean"] is None
    assert json.loads(json.dumps(figures.policy_figures(rows, None, LEVEL, 50), allow_nan=False))


def test_robustness_goes_through_rows_that_differ_in_strength_alone() -> None:
    rows = {
        name: result(name, "ss" if name == "in_distribution" else "sn") for name in ("in_distribution", "noise_weak")
    }
    rows["noise_strong"] = result("noise_strong", "nn")
    curves = figures.robustness(rows, LEVEL)
    assert list(curves) == ["noise on the whole image"]
    points = [(strength, figure["mean"]) for strength, figure in curves["noise on the whole image"]]
    assert points == [(0.0, 1.0), (0.3, 0.5), (0.5, 0.0)]


def test_following_counts_episodes_with_two_objects() -> None:
    # Episodes 0, 2, 4 and 6 have two objects: success, wrong object, never grasped, success.
    found = figures.following({"two_objects_seen": result("two_objects_seen", "swwsnsss")}, LEVEL)
    assert found["followed"]["mean"] == 2 / 4 and found["followed_of_taken"]["mean"] == 2 / 3


def test_swapping_the_words_changes_what_is_taken() -> None:
    before = result("two_objects_seen", "sssswsns")
    after = result("two_objects_seen", "ssssssss", followed=[0, 1, 0, 1, 0, 1, None, 1])
    found = figures.swapping(before, after, LEVEL)
    assert found["followed"]["mean"] == 3 / 4  # of episodes 0, 2, 4 and 6
    assert found["changed"] == figures.proportion([1, 1, 0], LEVEL)  # 4: the other one, whatever is said


def test_comparisons_pair_episodes_and_adjust_within_their_family() -> None:
    results = {
        "a": {"unseen_table": result("unseen_table", "ssssssnn"), "noise_weak": result("noise_weak", "ssss")},
        "b": {"unseen_table": result("unseen_table", "nnnnnsns"), "noise_weak": result("noise_weak", "sssn")},
    }
    table, noise, vision = figures.comparisons(results, [("a", "b")], LEVEL, 200)
    assert (table["only_first"], table["only_second"], table["p"]) == (5, 1, mcnemar(5, 1))
    assert table["difference"]["mean"] == 0.5 and noise["difference"]["mean"] == 0.25
    assert [table["p_holm"], noise["p_holm"]] == holm([table["p"], noise["p"]])
    assert vision["axis"] == "vision" and (vision["only_first"], vision["only_second"]) == (6, 1)
    assert vision["p_holm"] == vision["p"] and vision["difference"]["mean"] == pytest.approx(0.375)


def test_other_episodes_cannot_be_paired() -> None:
    a, b = ({"noise_weak": result("noise_weak", "sn", first=first)} for first in (0, 2))
    with pytest.raises(ValueError, match="row noise_weak: the policies played different episodes"):
        figures.comparisons({"a": a, "b": b}, [("a", "b")], LEVEL, 10)


def test_the_time_of_a_decision_is_that_of_all_rows() -> None:
    rows = {name: result(name, "s", latency_ms=x) for name, x in (("noise_weak", [1.0, 9.0]), ("reposition", [2.0]))}
    found = figures.latency(rows)
    assert (found["median_ms"], found["n"]) == (2.0, 3)
    assert found["p95_ms"] == pytest.approx(np.percentile([1.0, 2.0, 9.0], 95))
