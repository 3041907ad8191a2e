"""Evaluations have the same episodes however many worlds play them; training never has one of these."""

from __future__ import annotations

import pytest

from embodied.evaluate import quotas
from envs.tasks.tabletop.numbering import FIRST_DRAWN, Numbering


@pytest.mark.parametrize("worlds", [1, 3, 10])
def test_an_evaluation_is_the_same_set_for_any_number_of_worlds(worlds: int) -> None:
    numbering = Numbering(worlds, episodes=10, group=1, seed=0)
    numbering.restart(7)
    played = [numbering.next(row) for row, quota in enumerate(quotas(10, worlds).tolist()) for _ in range(quota)]
    assert sorted(played) == list(range(70, 80))


def test_training_draws_other_numbers_and_the_seed_decides() -> None:
    one, two, other = (Numbering(4, 0, 1, seed) for seed in (1, 1, 2))
    drawn = [one.next(world) for _ in range(50) for world in range(4)]
    assert drawn == [two.next(world) for _ in range(50) for world in range(4)]
    assert len(set(drawn)) == 200 and min(drawn) >= FIRST_DRAWN and max(drawn) < 1 << 62
    assert not set(drawn) & {other.next(world) for _ in range(50) for world in range(4)}


def test_worlds_of_a_group_play_the_same_episodes() -> None:
    numbering = Numbering(6, 0, 3, 0)
    turns = [[numbering.next(world) for world in range(6)] for _ in range(3)]
    for turn in turns:
        assert len(set(turn[:3])) == len(set(turn[3:])) == 1 and turn[0] != turn[3]
    assert len({turn[0] for turn in turns}) == 3
    with pytest.raises(ValueError, match=r"task\.group=4: 6 worlds do not divide"):
        Numbering(6, 0, 4, 0)


def test_continuation() -> None:
    one, two = Numbering(2, 0, 1, 5), Numbering(2, 0, 1, 0)
    one.next(0)
    two.load_state_dict(one.state_dict())
    assert [one.next(i) for i in (0, 1)] == [two.next(i) for i in (0, 1)]
