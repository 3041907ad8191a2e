from __future__ import annotations

import pytest

from scripts.benching.claims import FAILS, HOLDS, OPEN, ROBUST, UNKNOWN, Verdict, verdicts

from .made import SCRATCHED, figures


def judged(number: int, values, **options: float) -> Verdict:
    return verdicts(figures(values, **options), 0.95, 200)[number - 1]


def seeds(figure: str, *values: float) -> list[dict[str, float]]:
    return [{figure: value} for value in values]


def test_nothing_is_claimed_without_runs() -> None:
    found = verdicts(figures({}), 0.95, 10)
    assert [verdict.claim[:2] for verdict in found] == ["C1", "C2", "C3", "C4", "C5", "P1"]
    assert {verdict.result for verdict in found} == {UNKNOWN}
    assert found[2].missing == ("hopper/ncdpo", "hopper/dppo_k20")


@pytest.mark.parametrize(
    ("ncdpo", "dppo", "expected"),
    [
        ((9.5, 10.5, 10.0), (5.0, 6.0, 5.5), HOLDS),
        ((12.0, 13.0, 14.0), (5.0, 6.0, 5.5), HOLDS),  # better than claimed
        ((5.0, 5.5, 6.0), (5.0, 6.0, 5.5), FAILS),
        ((9.3, 9.4, 9.5), (5.0, 6.0, 5.5), FAILS),  # near, but surely below
        ((9.5, 10.5, 10.0), (9.5, 10.5, 10.0), FAILS),  # DPPO is not below
        ((10.0,), (5.0,), OPEN),  # one seed tells nothing
    ],
)
def test_c1(ncdpo: tuple[float, ...], dppo: tuple[float, ...], expected: str) -> None:
    mlp = [10.0] * len(ncdpo) if len(ncdpo) == 1 else [9.9, 10.0, 10.1]
    methods = {"mlp_scratch": mlp, "ncdpo_k5_scratch": ncdpo, "dppo_k5_scratch": dppo}
    assert judged(1, {("hopper", name): seeds("auc", *x) for name, x in methods.items()}).result == expected


@pytest.mark.parametrize(("lowest", "expected"), [(95.0, HOLDS), (80.0, FAILS)])
def test_c2(lowest: float, expected: str) -> None:
    finals = dict(zip(ROBUST, (100.0, lowest, 98.0), strict=True))
    found = judged(2, {("hopper", name): seeds("deterministic", x, x) for name, x in finals.items()})
    assert found.result == expected
    assert found.conditions[0].value.point == pytest.approx(1 - lowest / 100)


@pytest.mark.parametrize(("ours", "expected"), [((20, 22, 24), HOLDS), ((20, 90, 40), FAILS), ((80, 85, 90), FAILS)])
def test_c3(ours: tuple[float, ...], expected: str) -> None:
    values = {
        ("hopper", "ncdpo"): seeds("to_threshold", *ours),
        ("hopper", "dppo_k20"): seeds("to_threshold", 50.0, 40.0, 60.0),
    }
    assert judged(3, values).result == expected


@pytest.mark.parametrize(("reached", "expected"), [(0, OPEN), (1, FAILS)])
def test_c3_is_open_where_nobody_reaches_the_threshold(reached: int, expected: str) -> None:
    ours = [{"to_threshold": 100.0, "reached": i < reached} for i in range(3)]
    theirs = [{"to_threshold": 100.0, "reached": False}] * 3
    found = judged(3, {("hopper", "ncdpo"): ours, ("hopper", "dppo_k20"): theirs})
    assert found.result == expected
    assert found.conditions[0].made_of == f"reached in {reached} of 3 runs by NCDPO, 0 of 3 by DPPO"


def test_a_condition_says_what_it_is_made_of() -> None:
    values = {("hopper", name): seeds("auc", x, x) for name, x in zip(SCRATCHED, (4.0, 3.0, 1, 1, 1.0), strict=True)}
    conditions = judged(1, values).conditions
    assert [condition.made_of for condition in conditions] == ["hopper 0.75", "", "hopper 0.25"]
    finals = dict(zip(ROBUST, (100.0, 80.0, 98.0), strict=True))
    found = judged(2, {("hopper", name): seeds("deterministic", x, x) for name, x in finals.items()})
    assert found.conditions[0].made_of == "hopper 100 / 80 / 98"


@pytest.mark.parametrize(("final", "update", "expected"), [(0.94, 2.0, HOLDS), (0.3, 2.0, FAILS), (0.94, 20.0, FAILS)])
def test_c4(final: float, update: float, expected: str) -> None:
    ours = [{"deterministic": final, "update": update}] * 3
    found = judged(4, {("hopper", "reinflow_k4"): ours, ("hopper", "dppo_k20"): seeds("update", 10.0, 10.0, 10.0)})
    assert found.result == expected
    growth, saved = found.conditions
    assert growth.value.point == pytest.approx((final - 0.4) / 0.4)
    assert saved.value.point == pytest.approx(1 - update / 10)


@pytest.mark.parametrize(
    ("start", "finals", "expected"),
    [(0.4, (0.9, 0.95), HOLDS), (0.4, (0.6, 0.7), FAILS), (0.1, (0.9, 0.95), FAILS), (0.4, (0.9,), OPEN)],
)
def test_c5(start: float, finals: tuple[float, ...], expected: str) -> None:
    values = {("push", name): seeds("deterministic", *finals) for name in ("reinflow_k4", "ncdpo")}
    found = judged(5, values, start=start)
    assert found.result == expected and found.tasks == ("push",)


@pytest.mark.parametrize(("ncdpo", "expected"), [(50.0, HOLDS), (49.0, FAILS)])
def test_p1(ncdpo: float, expected: str) -> None:
    finals = {"dppo_k20": 60.0, "ncdpo": ncdpo, "reinflow_k4": 55.0, "dppo_published": 50.0}
    found = judged(6, {("hopper", name): seeds("deterministic", x, x) for name, x in finals.items()})
    assert found.result == expected
    assert [condition.value.point for condition in found.conditions] == [10.0, ncdpo - 50.0, 5.0]


def test_p1_needs_the_published_recipe() -> None:
    found = judged(6, {("hopper", "ncdpo"): seeds("deterministic", 1.0, 1.0)})
    assert found.result == UNKNOWN and "hopper/dppo_published" in found.missing


def test_a_claim_says_where_runs_are_missing() -> None:
    found = judged(5, {("push", "ncdpo"): seeds("deterministic", 0.9, 0.95)})
    assert found.missing == ("push/reinflow_k4",)
    assert all("reinflow" not in condition.what for condition in found.conditions)
