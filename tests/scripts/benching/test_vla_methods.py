from __future__ import annotations

import pytest
from scipy import stats

from scripts.benching.vla_figures import policy_figures
from scripts.benching.vla_methods import method_figures, over_seeds, pairs

from .vla_made import result

METHODS = {
    "samples": {"ppo": {"policies": ["ppo-s0", "ppo-s1"]}, "sft": {"policies": ["sft-s0", "sft-s1"]}},
    "time": {"ppo": {"policies": ["ppo-s0-time", "ppo-s1"]}, "sft": {"policies": ["sft-s0", "sft-s1"]}},
}


def test_the_interval_is_students_over_seeds() -> None:
    found = over_seeds([0.2, 0.5, 0.6], 0.95)
    expected = stats.ttest_1samp([0.2, 0.5, 0.6], 0.0).confidence_interval(0.95)
    assert found["mean"] == pytest.approx(1.3 / 3) and found["n"] == 3
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert over_seeds([0.4, None], 0.95) == {"mean": 0.4, "low": None, "high": None, "n": 1, "values": [0.4, None]}
    assert over_seeds([None], 0.95)["mean"] is None


def test_methods_are_means_of_their_seeds() -> None:
    outcomes = {"ppo-s0": "ssss", "ppo-s1": "ssnn", "ppo-s0-time": "snnn", "sft-s0": "nnnn", "sft-s1": "ssnn"}
    rows = {
        name: {"in_distribution": result("in_distribution", "ssss"), "noise_weak": result("noise_weak", told)}
        for name, told in outcomes.items()
    }
    policies = {name: policy_figures(played, None, 0.95, 20) for name, played in rows.items()}
    found = method_figures(METHODS, policies, 0.95)
    assert found["samples"]["ppo"]["rows"]["noise_weak"]["values"] == [1.0, 0.5]
    assert found["time"]["ppo"]["axes"]["vision"]["mean"] == 0.375
    assert found["samples"]["sft"]["retention"]["vision"]["mean"] == 0.25


def test_pairs_are_of_one_budget_and_seed() -> None:
    policies = {name: {} for name in ("ppo-s0", "ppo-s1", "ppo-s0-time", "sft-s0", "sft-s1", "warmup")}
    assert pairs(METHODS, policies) == [("ppo-s0", "sft-s0"), ("ppo-s1", "sft-s1"), ("ppo-s0-time", "sft-s0")]
    del policies["sft-s1"]  # its job failed
    assert ("ppo-s1", "sft-s1") not in pairs(METHODS, policies)
    assert pairs(None, {"a": {}, "b": {}, "c": {}}) == [("a", "b"), ("a", "c"), ("b", "c")]
