"""One episode on film, as a job: python -m scripts.benching.vla_film SETTINGS OUT

SETTINGS is a JSON object of :class:`vla_row.FilmSettings`, OUT the MP4 file that is written; the last line printed is a
JSON object with what the episode came to this time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.configuration import from_mapping
from embodied.evaluate import evaluate
from embodied.runtime import use_threads
from embodied.types import StepResult, VecEnv
from embodied.video import VideoWriter

from .vla_players import make_player
from .vla_row import FilmSettings, outcomes, row_env

WIDTH, HEIGHT = 320, 240
QUALITY = 30  # of H.264; some 30 kB an episode


def main(argv: Sequence[str]) -> int:
    """Film and write."""
    s = from_mapping(FilmSettings, json.loads(argv[0]), "film")
    use_threads(s.num_threads)
    player = make_player(s.source)
    env = row_env(player, s.row, 1, 1, s.number, s.num_threads)
    try:
        frames = watched(env)
        found = evaluate(env, player.policy, 1, s.number, player.see, keep_episodes=True)
    finally:
        env.close()
    with VideoWriter(Path(argv[1]), WIDTH, HEIGHT, len(frames) / seconds(env), QUALITY) as writer:
        for frame in frames:
            writer.add(frame)
    print(json.dumps({"outcome": outcomes(found["per_episode"], s.row, [s.number])["outcome"][0]}))
    return 0


def seconds(env: VecEnv) -> float:
    """Length of an episode of the task."""
    return env.spec.horizon * env.spec.control_dt


def watched(env: Any) -> list[np.ndarray]:
    """Frames (HEIGHT, WIDTH, 3) of world 0, which fill up while it is stepped: before each of its control steps."""
    inner, frames = getattr(env, "env", env), list[np.ndarray]()
    step = inner.step

    def filmed(action: torch.Tensor) -> StepResult:
        frames.append(inner.render(0, width=WIDTH, height=HEIGHT))
        return step(action)

    inner.step = filmed
    return frames


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
