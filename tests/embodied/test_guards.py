from __future__ import annotations

from typing import Any

import pytest

from embodied.guards import Guard, GuardConfig


def record(std: float = 1.0, **figures: float) -> dict[str, Any]:
    return {"reward": 0.0, "reward/std": std} | {f"episode/{name}": value for name, value in figures.items()}


def test_groups_without_a_difference_stop_a_run():
    guard = Guard(GuardConfig(zero_signal=2), None)
    record = {"reward": 0.5, "reward/std": 0.5}
    found = [guard.look({**record, "groups/used": used}) for used in (0.0, 0.25, 0.0, 0.0)]
    assert found[:3] == [None, None, None]
    assert found[3] is not None and found[3].startswith("no group's episodes ended differently for 2 iterations")


def test_equal_rewards_stop_a_run_after_some_iterations_in_a_row() -> None:
    guard = Guard(GuardConfig(zero_signal=3), None)
    found = [guard.look(record(std)) for std in (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)]
    assert found[:5] == [None] * 5
    assert found[5] is not None and found[5].startswith("all rewards were 0 for 3 iterations")


def test_a_success_that_stays_below_a_share_of_its_best_stops_a_run() -> None:
    guard = Guard(GuardConfig(collapse=0.5, patience=2), "success")
    found = [guard.look(record(success=value)) for value in (0.1, 0.8, 0.3, 0.5, 0.39, 0.2)]
    assert found[:5] == [None] * 5
    assert found[5] is not None and found[5].startswith("success has been below 0.5 of its best, 0.8, for 2 iterations")


def test_guards_that_are_off() -> None:
    guard = Guard(GuardConfig(zero_signal=0), "success")
    values = (1.0, *[0.0] * 100)
    assert all(guard.look(record(0.0, success=value)) is None for value in values)


def test_iterations_without_an_episode_say_nothing() -> None:
    guard = Guard(GuardConfig(collapse=0.5, patience=1), "success")
    assert guard.look(record(success=1.0)) is None
    assert guard.look(record()) is None
    assert guard.look(record(success=0.0)) is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zero_signal": -1}, "guards.zero_signal=-1: must be a whole number of at least 0"),
        ({"patience": 0}, "guards.patience=0: must be a whole number of at least 1"),
        ({"collapse": 2.0}, r"guards.collapse=2.0: must lie in \[0, 1\]"),
    ],
)
def test_numbers_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GuardConfig(**settings)
