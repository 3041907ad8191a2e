"""Success, potential and failures by hand."""

from __future__ import annotations

import pytest
import torch

from envs.tasks.tabletop import scoring
from envs.tasks.tabletop.scoring import FAILURES, Story


def test_success_at_its_limits() -> None:
    base = torch.tensor([[0.5, 0.1, 0.006]])
    for shift, rise, touch, expected in (
        ((0.0, 0.0), 0.0, True, True),
        ((0.0, 0.0), 0.0, False, False),
        ((0.079, 0.0), 0.0, True, True),  # half width 0.07 and 0.01
        ((0.057, 0.057), 0.0, True, False),  # 0.0806
        ((0.0, 0.0), 0.049, True, True),
        ((0.0, 0.0), 0.051, True, False),
        ((0.0, 0.0), -0.051, True, False),
    ):
        thing = torch.tensor([[0.5 + shift[0], 0.1 + shift[1], 0.026 + rise]])
        half, rest, touches = torch.tensor([0.07]), torch.tensor([0.026]), torch.tensor([touch])
        assert scoring.on_target(thing, base, half, rest, touches).item() is expected


@pytest.mark.parametrize(
    ("grasped", "firmly", "placed", "expected"),
    [(0, 0, 0, 0.0), (1, 0, 0, 0.1), (1, 1, 0, 0.2), (1, 1, 1, 1.2), (1, 0, 1, 1.1), (0, 0, 1, 0.0)],
)
def test_potential(grasped: int, firmly: int, placed: int, expected: float) -> None:
    value = scoring.potential(*(torch.tensor([bool(x)]) for x in (grasped, firmly, placed)))
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("placed", "held", "ever", "misplaced", "let_go", "expected"),
    [
        (True, (0, 0), (1, 0), False, True, None),
        (False, (0, 0), (0, 0), False, False, "never_grasped"),
        (False, (0, 1), (0, 1), False, False, "wrong_object"),
        (False, (1, 0), (1, 0), False, False, "timeout"),
        (False, (1, 0), (1, 1), True, True, "timeout"),
        (False, (0, 0), (1, 0), True, False, "wrong_place"),
        (False, (0, 0), (1, 0), False, True, "wrong_place"),
        (False, (0, 0), (1, 0), False, False, "dropped"),
    ],
)
def test_failures_are_exclusive(placed, held, ever, misplaced, let_go, expected) -> None:
    flags = (torch.tensor([x]) for x in (placed, [bool(x) for x in held], [bool(x) for x in ever], misplaced, let_go))
    found = scoring.failure(Story(*flags))
    assert tuple(found) == FAILURES
    assert {name: value.item() for name, value in found.items()} == {name: float(name == expected) for name in FAILURES}
