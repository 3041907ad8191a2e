"""One player on one row, as a job: python -m scripts.benching.vla_row SETTINGS OUT

SETTINGS is a JSON object of :class:`RowSettings`, OUT the JSON file that is written.
Legend: W worlds; E episodes, whose numbers are seed * E ... seed * E + E - 1.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from embodied.configuration import from_mapping
from embodied.evaluate import evaluate, quotas
from embodied.runtime import use_threads
from embodied.text import encode_text
from embodied.types import Obs, StepResult, VecEnv
from envs.tasks.tabletop.catalogue import words
from envs.tasks.tabletop.episodes import Episode, episode
from envs.tasks.tabletop.scoring import FAILURES

from ..common import make_env
from ..evaluate import check_fit
from .vla_players import Player, make_player

PLAYED, FILMS = "scripts.benching.vla_row", "scripts.benching.vla_film"
"""The modules of the jobs."""
SUCCESS, CRASHED = "success", "crashed"
OUTCOMES = (SUCCESS, *FAILURES, CRASHED)
"""What an episode comes to; each has exactly one."""
WARM_UP = 3
"""Decisions that are not timed."""


@dataclass(frozen=True)
class RowSettings:
    """source: see :func:`vla_players.make_player`.  digest: of its weights; other weights are another job.

    row, seed, episodes: which episodes.  swap: the instruction names the other object, where there are two.
    decisions: how many single ones are timed.
    """

    source: str
    row: str
    digest: str = ""
    episodes: int = 200
    seed: int = 0
    num_worlds: int = 50
    num_threads: int = 1
    swap: bool = False
    decisions: int = 30


@dataclass(frozen=True)
class FilmSettings:
    """source, digest: as in :class:`RowSettings`.  row, number: which episode."""

    source: str
    row: str
    number: int
    digest: str = ""
    num_threads: int = 1


def main(argv: Sequence[str]) -> int:
    """Measure and write; the file is whole or not there."""
    settings = from_mapping(RowSettings, json.loads(argv[0]), "row")
    result, out = measure(settings), Path(argv[1])
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(json.dumps(result) + "\n", encoding="utf-8")
    os.replace(temporary, out)
    return 0


def measure(s: RowSettings) -> dict[str, Any]:
    """The outcome of every episode by its number, and the time that a decision takes; plain JSON types."""
    use_threads(s.num_threads)
    player, begin = make_player(s.source), time.perf_counter()
    env = row_env(player, s.row, s.episodes, min(s.num_worlds, s.episodes), s.seed, s.num_threads)
    try:
        seen: Any = SwappedInstructions(env) if s.swap else env
        found = evaluate(seen, player.policy, s.episodes, s.seed, player.see, keep_episodes=True)
        rows = min(s.num_worlds, s.episodes)
        outcome = outcomes(found["per_episode"], s.row, episode_numbers(s.episodes, rows, s.seed))
        latency = latencies(player, env.reset(s.seed), s.decisions)
    finally:
        env.close()
    seconds = time.perf_counter() - begin
    return {**asdict(s), **outcome, "latency_ms": latency, "steps": found["steps"], "seconds": seconds}


def row_env(player: Player, row: str, episodes: int, num_worlds: int, seed: int, num_threads: int) -> VecEnv:
    """A row of the task as the player knows the task; training's shortcuts are off."""
    own = {
        "row": row,
        "episodes": episodes,
        "group": 1,
        "cut_after": 0,
        "cut_after_success": 0,
        "num_render_workers": 0,
    }
    config = {**player.task, **own}
    device = torch.device("cpu")
    env = make_env(config, num_worlds=num_worlds, device=device, num_threads=num_threads, seed=seed)
    if player.spec is not None:
        check_fit(player.spec, env.spec)
    return env


def episode_numbers(episodes: int, rows: int, seed: int) -> list[int]:
    """The numbers of an evaluation's episodes, row by row, as :func:`embodied.evaluate.evaluate` returns them."""
    return [
        seed * episodes + turn * rows + row
        for row, quota in enumerate(quotas(episodes, rows).tolist())
        for turn in range(quota)
    ]


def outcomes(per_episode: Mapping[str, Sequence[float | None]], row: str, numbers: Sequence[int]) -> dict[str, Any]:
    """What each episode came to, in the order of their numbers.

    outcome: one of OUTCOMES; a crash goes before everything else.  success_once: 0 or 1, of a crash 0.
    followed: 1 where the first object taken is the one named, 0 where it is the other, None where none was taken.
    two_objects: whether there was another to take.
    """
    order = sorted(range(len(numbers)), key=lambda i: numbers[i])
    crashed = [bool(x) for x in per_episode[CRASHED]]
    return {
        "numbers": [numbers[i] for i in order],
        "outcome": [CRASHED if crashed[i] else _outcome(per_episode, i) for i in order],
        "success_once": [0 if crashed[i] else int(per_episode["success_once"][i] or 0) for i in order],
        "followed": [None if crashed[i] else _whole(per_episode["followed"][i]) for i in order],
        "two_objects": [len(episode(row, numbers[i]).objects) > 1 for i in order],
    }


def _outcome(per_episode: Mapping[str, Sequence[float | None]], i: int) -> str:
    """Success at the end, or the one failure that the task tells."""
    told = [name for name in FAILURES if per_episode[name][i]]
    if per_episode["success_at_end"][i]:
        return SUCCESS
    (failure,) = told
    return failure


def _whole(x: float | None) -> int | None:
    return None if x is None else int(x)


def latencies(player: Player, obs: Obs, count: int) -> list[float]:
    """Milliseconds of single decisions at the start of different episodes."""
    rows = len(next(iter(obs.values())))
    found = []
    for i in range(WARM_UP + count):
        single = {name: x[i % rows : i % rows + 1] for name, x in obs.items()}
        begin = time.perf_counter()
        player.decide(single)
        found.append(1e3 * (time.perf_counter() - begin))
    return found[WARM_UP:]


class SwappedInstructions:
    """The tabletop with instructions that name the other object, where there are two; all else is as it was."""

    def __init__(self, env: VecEnv) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, seed: int | None = None) -> Obs:
        """See :class:`embodied.types.VecEnv`."""
        return self._swapped(self.env.reset(seed))

    def step(self, action: torch.Tensor) -> StepResult:
        """See :class:`embodied.types.VecEnv`."""
        result = self.env.step(action)
        return dataclasses.replace(result, obs=self._swapped(result.obs))

    def _swapped(self, obs: Obs) -> Obs:
        told = obs["instruction"]
        texts = [swapped_text(played) for played in self.env.episodes]  # type: ignore[attr-defined]
        return {**obs, "instruction": encode_text(texts, told.shape[-1]).to(told.device)}


def swapped_text(played: Episode) -> str:
    """The episode's instruction with the other object's name; the same where there is no other."""
    if len(played.objects) < 2:
        return played.text
    named, other = (words(placed.pair) for placed in played.objects)
    return played.text.replace(named, other, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
