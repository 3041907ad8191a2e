"""Every number has an episode, and each row changes what it names."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from envs.tasks.tabletop import episodes, instructions
from envs.tasks.tabletop.catalogue import (
    COLOURS,
    OBJECTS,
    RECEPTACLES,
    SEEN_OBJECTS,
    SEEN_RECEPTACLES,
    UNSEEN_OBJECTS,
    UNSEEN_RECEPTACLES,
    words,
)
from envs.tasks.tabletop.episodes import CENTRE, HALF, episode
from envs.tasks.tabletop.rows import AXES, NUMBER, ROWS
from envs.tasks.tabletop.stream import Stream, mixed
from envs.tasks.tabletop.textures import SEEN_TABLES, UNSEEN_TABLES

COUNT = 1000


def off_centre(at: tuple[float, float]) -> tuple[float, float]:
    return abs(at[0] - CENTRE[0]), abs(at[1] - CENTRE[1])


@pytest.mark.parametrize("row", sorted(ROWS))
def test_the_first_thousand_are_within_the_documented_ranges(row: str) -> None:
    rule = ROWS[row]
    for number in range(COUNT):
        ep = episode(row, number)
        objects, bases = [x.at for x in ep.objects], [x.at for x in ep.receptacles]
        wide = episodes.RING if rule.ring else 0.0
        for at in objects + bases:
            x, y = off_centre(at)
            assert x <= HALF[0] + wide + 1e-9 and y <= HALF[1] + wide + 1e-9
            assert not rule.ring or x > HALF[0] or y > HALF[1]
        assert all(math.dist(a, b) >= episodes.CLEAR - 1e-9 for a in objects for b in bases)
        apart = episodes.FAR if rule.second == 4 else episodes.APART
        assert all(math.dist(a, b) >= apart - 1e-9 for a, b in combinations(objects, 2))
        assert all(math.dist(a, b) >= episodes.PLATES_APART - 1e-9 for a, b in combinations(bases, 2))
        for placed in (*ep.objects, *ep.receptacles):
            low = episodes.YAW if rule.ring else 0.0
            assert low <= abs(placed.yaw) <= low + episodes.YAW
        assert len(bases) == 1 + rule.second_receptacle and (ep.overlay is not None) == (rule.overlay is not None)
        assert {x.pair for x in ep.objects} <= set(SEEN_OBJECTS if rule.things == "seen" else UNSEEN_OBJECTS)
        known = SEEN_RECEPTACLES if rule.receptacles == "seen" else UNSEEN_RECEPTACLES
        assert {x.pair for x in ep.receptacles} <= set(known)
        assert ep.table in (SEEN_TABLES if rule.tables == "seen" else UNSEEN_TABLES)
        offsets = [abs(x) for x in ep.joints]
        assert (max(offsets) > 0.05) == rule.joints and max(offsets) <= (0.62 if rule.joints else 0.02)
        assert (ep.moved_to is not None) == rule.reposition
        if ep.moved_to is not None:
            assert math.dist(ep.moved_to, objects[0]) >= episodes.FAR
            assert math.dist(ep.moved_to, bases[0]) >= episodes.CLEAR


@pytest.mark.parametrize("row", sorted(ROWS))
def test_the_instruction_names_what_is_meant(row: str) -> None:
    templates = instructions.SEEN if ROWS[row].templates == "seen" else instructions.UNSEEN
    for number in range(200):
        ep = episode(row, number)
        named, base = words(ep.objects[0].pair), words(ep.receptacles[0].pair)
        assert ep.text in {template.format(o=named, r=base) for template in templates}
        assert len(ep.text.encode()) <= instructions.LENGTH


def test_how_often_there_is_a_second_object() -> None:
    share = {row: sum(len(episode(row, n).objects) == 2 for n in range(COUNT)) / COUNT for row in ROWS}
    for row, found in share.items():
        assert found == 1.0 if ROWS[row].second == 4 else abs(found - 0.5) < 0.06


def test_some_episodes_by_their_numbers() -> None:
    """Pinned, so that no change of library or code moves an evaluation."""
    for number, (text, at, yaw, base, joint) in enumerate(PINNED):
        ep = episode("in_distribution", number)
        assert (ep.text, ep.objects[0].at, ep.objects[0].yaw) == (text, at, yaw)
        assert (ep.receptacles[0].at, ep.joints[0]) == (base, joint)


PINNED = [
    ("the blue dumbbell goes on the black plate", (0.45832, 0.103739), -0.353345, (0.40626, -0.074967), -0.009847),
    ("the green tower goes on the orange board", (0.453536, -0.100829), -0.540533, (0.401582, 0.104114), 0.002624),
    (
        "take the purple ball and place it on the orange board",
        (0.568653, 0.036036),
        -0.175913,
        (0.41171, -0.006564),
        0.013677,
    ),
]


def test_an_episode_is_a_function_of_row_and_number() -> None:
    assert episode("noise_weak", 77) == episode("noise_weak", 77)
    assert len({episode("noise_weak", n).key for n in range(500)}) == 500
    assert episode("noise_weak", 5).objects != episode("noise_strong", 5).objects
    assert episode("in_distribution", (1 << 62) + 3).text


def test_held_out_pairs_are_new_and_their_words_are_not() -> None:
    for seen, unseen, names in (
        (SEEN_OBJECTS, UNSEEN_OBJECTS, OBJECTS),
        (SEEN_RECEPTACLES, UNSEEN_RECEPTACLES, RECEPTACLES),
    ):
        assert not set(seen) & set(unseen) and len(seen) + len(unseen) == len(COLOURS) * len(names)
        assert {c for c, _ in seen} == set(COLOURS) and {name for _, name in seen} == set(names)
        assert len(unseen) * 4 == len(COLOURS) * len(names)
    vocabulary = {word for template in instructions.SEEN for word in template.split()}
    assert not set(instructions.SEEN) & set(instructions.UNSEEN)
    assert {word for template in instructions.UNSEEN for word in template.split()} <= vocabulary


def test_rows_are_numbered_for_good() -> None:
    assert list(NUMBER.values()) == list(range(len(ROWS))) and len(ROWS) == 16
    assert {rule.axis for rule in ROWS.values()} == set(AXES)
    assert [row for row, rule in ROWS.items() if rule.axis == "in_distribution"] == ["in_distribution"]


def test_stream() -> None:
    stream, reference = Stream(3, 4), np.random.Philox(key=np.array([3, 4], dtype=np.uint64)).random_raw(40)
    assert [stream.word() for _ in range(40)] == reference.tolist()
    draws = [Stream(0, n).unit() for n in range(2000)]
    assert min(draws) >= 0 and max(draws) < 1 and abs(sum(draws) / 2000 - 0.5) < 0.03
    assert {Stream(1, n).below(3) for n in range(50)} == {0, 1, 2}
    assert mixed(0) == 0xE220A8397B1DCDAF  # SplitMix64's first output for seed 0, in its reference implementation
    assert mixed(1, 2) != mixed(2, 1)
