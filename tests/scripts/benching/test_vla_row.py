from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from embodied.evaluate import quotas
from embodied.text import decode_text
from envs.tasks.tabletop.episodes import episode
from envs.tasks.tabletop.numbering import Numbering
from scripts.benching import vla_film, vla_row
from scripts.benching.vla_players import fixed, make_player
from scripts.benching.vla_row import episode_numbers, outcomes, swapped_text

from .vla_made import untrained_run

NAMES = ("success_at_end", "success_once", "followed", "crashed", *vla_row.FAILURES)


def per_episode(*told: dict[str, float | None]) -> dict[str, list[float | None]]:
    return {name: [one.get(name, 0.0) for one in told] for name in NAMES}


@pytest.mark.parametrize(("episodes", "worlds"), [(7, 3), (6, 3), (2, 2)])
def test_numbers_are_those_that_the_task_plays(episodes: int, worlds: int) -> None:
    numbering = Numbering(worlds, episodes, 1, seed=3)
    played = [[numbering.next(world) for _ in range(quota)] for world, quota in enumerate(quotas(episodes, worlds))]
    numbers = episode_numbers(episodes, worlds, seed=3)
    assert numbers == [number for row in played for number in row]
    assert sorted(numbers) == list(range(3 * episodes, 4 * episodes))


def test_every_episode_comes_to_exactly_one_thing_in_the_order_of_numbers() -> None:
    told = per_episode(
        {"dropped": 1.0, "success_once": 1.0, "followed": 1.0},
        {"success_at_end": 1.0, "success_once": 1.0, "followed": 1.0, "crashed": 1.0},
        {"never_grasped": 1.0, "followed": None},
        {"success_at_end": 1.0, "success_once": 1.0, "followed": 0.0},
    )
    found = outcomes(told, "two_objects_seen", [5, 4, 7, 6])
    assert found["numbers"] == [4, 5, 6, 7]
    assert found["outcome"] == ["crashed", "dropped", "success", "never_grasped"]
    assert found["success_once"] == [0, 1, 1, 0] and found["followed"] == [None, 1, 0, None]
    assert found["two_objects"] == [True] * 4
    assert not any(outcomes(per_episode({"timeout": 1.0}), "two_objects_seen", [0])["followed"])


def test_a_failure_that_is_none_or_two_is_a_fault_of_the_task() -> None:
    for told in ({}, {"timeout": 1.0, "dropped": 1.0}):
        with pytest.raises(ValueError, match="unpack"):
            outcomes(per_episode(told), "in_distribution", [0])


def test_swapped_words_name_the_other_object() -> None:
    played = episode("two_objects_seen", 3)
    first, second = (" ".join(placed.pair) for placed in played.objects)
    assert first in played.text and second not in played.text
    assert swapped_text(played) == played.text.replace(first, second)
    alone = next(e for e in (episode("in_distribution", i) for i in range(20)) if len(e.objects) == 1)
    assert swapped_text(alone) == alone.text


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("vla"))


@pytest.mark.slow
def test_a_policy_plays_a_row(untrained: Path, tmp_path: Path) -> None:
    source, digest = fixed(str(untrained))
    settings = {"source": source, "row": "two_objects_seen", "digest": digest, "episodes": 3, "seed": 2}
    settings |= {"num_worlds": 2, "decisions": 2}
    assert vla_row.main([json.dumps(settings), str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out").read_text())
    assert found["numbers"] == [6, 7, 8] and found["two_objects"] == [True] * 3
    assert set(found["outcome"]) <= set(vla_row.OUTCOMES)
    assert len(found["latency_ms"]) == 2 and min(found["latency_ms"]) > 0
    assert found["steps"] == 3 * 60  # whole episodes, although training cut them short
    assert found["digest"] == digest and len(digest) == 16


@pytest.mark.slow
def test_the_swapped_words_are_what_the_policy_is_told(untrained: Path) -> None:
    player = make_player(str(untrained))
    env = vla_row.row_env(player, "two_objects_seen", 2, 2, 0, 1)
    told = decode_text(vla_row.SwappedInstructions(env).reset(0)["instruction"])
    env.close()
    assert list(told) == [swapped_text(episode("two_objects_seen", number)) for number in (0, 1)]


@pytest.mark.slow
@pytest.mark.render
def test_a_film_shows_every_control_step(untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, digest = fixed(str(untrained))
    settings = {"source": source, "row": "in_distribution", "number": 5, "digest": digest}
    assert vla_film.main([json.dumps(settings), str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["outcome"] in vla_row.OUTCOMES
    with av.open(str(tmp_path / "out")) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.width, float(stream.average_rate)) == (60, 320, 10.0)
