"""Supervised fine-tuning of a trained policy, as a job: python -m scripts.benching.vla_sft SETTINGS OUT

SETTINGS is a JSON object of :class:`SFTSettings`, OUT the run folder. The policy goes on from its weights; the
constants of its normaliser are those of the new demonstrations, as in every cloning. A run that was stopped goes on
from its last checkpoint.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from embodied import checkpoint as checkpoints
from embodied.configuration import from_mapping
from embodied.datasets import load_episodes
from embodied.imitation import ImitationConfig, clone

from ..agents import load_agent


@dataclass(frozen=True)
class SFTSettings:
    """init: the run to go on from.  dataset: demonstrations, or several.  steps: gradient steps.

    padding: of windows beyond the end of an episode, see :class:`embodied.datasets.Windows`.
    """

    init: str
    dataset: Any
    steps: int
    seed: int = 0
    num_threads: int = 1
    padding: str = "repeat"


def main(argv: Sequence[str]) -> int:
    """Clone on; 0, or 130 if it was stopped."""
    s = from_mapping(SFTSettings, json.loads(argv[0]), "sft")
    agent = load_agent(s.init)
    config = ImitationConfig(steps=s.steps, seed=s.seed, num_threads=s.num_threads, padding=s.padding)
    policy = cast(nn.Module, agent.policy).train()
    run_dir = Path(argv[1])
    data = load_episodes(s.dataset, run_dir.parent)
    begun = checkpoints.latest(run_dir)
    result = clone(policy, agent.spec, data, config, run_dir, resume=begun, run_config=agent.config)
    return 0 if result.finished else 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
