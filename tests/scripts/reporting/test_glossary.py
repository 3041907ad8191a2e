from __future__ import annotations

import pytest

from scripts.reporting.glossary import duration, figure, plain, steps


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.15, "0.15"), (0.4512, "0.451"), (0.01234, "0.012"), (1.2e-7, "1.2e-07"), (-3.14159, "-3.14"),
     (999.4, "999"), (1004.0, "1,004"), (1234567.0, "1,234,567")],
)  # fmt: skip
def test_plain(value: float, text: str):
    assert plain(value) == text


def test_figures_show_their_units():
    assert figure("episode/success").show(0.98437) == "98.4 %" and figure("success").show(1.0) == "100 %"
    assert figure("swing_height").show(0.0612) == "6.12 cm"
    assert figure("error_lin_vel").span(0.42, 0.4821) == "0.42 to 0.482 m/s"
    assert figure("return").show(None) == "-"


def test_unknown_figures_keep_their_names():
    assert figure("episode/peg_depth").label == "Peg depth" and figure("episode/peg_depth").show(2.0) == "2"
    assert figure("episode/reward/track_lin_vel").label == "Track lin vel"


def test_steps_and_durations():
    assert [steps(x) for x in (12, 713_000, 6e6, 2.5e9)] == ["12", "713 k", "6 M", "2.5 G"]
    assert [duration(x) for x in (42, 582, 3723)] == ["42 s", "9 min 42 s", "1 h 2 min"]
