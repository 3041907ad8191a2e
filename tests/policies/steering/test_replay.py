"""The replay: the last transitions, evenly drawn."""

from __future__ import annotations

import pytest
import torch

from policies.steering.replay import Replay, Transitions


def numbered(*numbers: int) -> Transitions:
    """Transitions that carry their number in every column."""
    x = torch.tensor(numbers, dtype=torch.float32).unsqueeze(-1)
    return Transitions(x.repeat(1, 3), x.repeat(1, 2), x.repeat(1, 3), x, x, x)


def held(replay: Replay) -> list[int]:
    stored = replay.state_dict()["stored"]
    return sorted(stored["rewards"].flatten().int().tolist())


def test_the_oldest_make_way() -> None:
    replay = Replay(5)
    replay.add(numbered(0, 1, 2))
    assert len(replay) == 3 and held(replay) == [0, 1, 2]
    replay.add(numbered(3, 4, 5))
    assert len(replay) == 5 and replay.added == 6 and held(replay) == [1, 2, 3, 4, 5]
    replay.add(numbered(*range(10, 18)))  # more than there is room for
    assert held(replay) == [13, 14, 15, 16, 17]


def test_columns_stay_together_and_all_are_drawn() -> None:
    replay = Replay(100)
    replay.add(numbered(*range(10)))
    batch = replay.sample(2000)
    assert batch.observations.shape == (2000, 3) and batch.actions.shape == (2000, 2)
    for column in batch:
        assert torch.equal(column[:, :1], batch.rewards)
    counts = torch.bincount(batch.rewards.flatten().int(), minlength=10)
    assert len(counts) == 10 and int(counts.min()) > 130  # 200 expected, standard deviation 13


@pytest.mark.parametrize("added", [0, 3, 7])
def test_it_continues_as_it_was(added: int) -> None:
    replay, other = Replay(5), Replay(5)
    if added:
        replay.add(numbered(*range(added - 1)))
        replay.add(numbered(added - 1))
    other.load_state_dict(replay.state_dict())
    for one in (replay, other):
        one.add(numbered(20, 21))
    assert other.added == replay.added == added + 2
    first, second = replay.state_dict()["stored"], other.state_dict()["stored"]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_capacity_must_be_above_0() -> None:
    with pytest.raises(ValueError, match=r"algo\.buffer_size=0"):
        Replay(0)
