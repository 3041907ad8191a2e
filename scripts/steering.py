"""The run of a steered policy: what ``embodied.train.drive`` drives, with everything that a continuation needs.

A resumed run equals an uninterrupted one up to rounding. For that a checkpoint
holds the replay: ``algo.buffer_size`` transitions at most, of 4 bytes for each element of two observations and a chunk.

Legend: B rows; H action chunk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embodied import checkpoint
from embodied.metrics import EpisodeWindow
from embodied.normalize import ObsNormalizer
from embodied.runtime import load_random_state, random_state
from embodied.train import LoopConfig, Record
from embodied.types import VecEnv
from policies.steering.learner import SteeringLearner
from policies.steering.settings import SACConfig
from policies.steering.steered import SteeredPolicy
from policies.steering.view import StandardisedVecEnv


@dataclass(frozen=True)
class SteeringRunConfig(LoopConfig):
    """What ``LoopConfig`` says, and ``algo``, how the actor learns."""

    total_steps: int = 200_000
    checkpoint_interval: int = 50_000
    keep_checkpoints: int = 2
    algo: SACConfig = field(default_factory=SACConfig)


class SteeringTrainer:
    """The state of a run and its one iteration: ``algo.num_steps`` decisions of every world, each learnt from.

    Args:
        env: the task, as it is.
        normalizer: of the frozen policy; it stays as it is, and goes with the checkpoint.
    """

    def __init__(
        self, env: VecEnv, policy: SteeredPolicy, normalizer: ObsNormalizer | None, config: SteeringRunConfig
    ) -> None:
        torch.manual_seed(config.seed)
        self.env, self.policy, self.normalizer, self.config = env, policy, normalizer, config
        self.learner = SteeringLearner(StandardisedVecEnv(env, normalizer), policy, config.algo)
        self.episodes = EpisodeWindow(config.episode_window)
        self.env_steps = self.iteration = 0
        self.seconds = 0.0
        worlds = env.num_rows // max(1, env.spec.num_agents)
        self.steps_per_iteration = worlds * config.algo.num_steps * env.spec.action.chunk

    def iterate(self) -> Record:
        """Decide and learn, in turns."""
        if self.iteration == 0:
            self.learner.start(self.config.seed)
        collecting = learning = 0.0
        rewards = []
        for _ in range(self.config.algo.num_steps):
            begin = time.perf_counter()
            result = self.learner.decide()
            self.episodes.add(result)
            rewards.append(result.reward if result.active is None else result.reward[result.active])
            decided = time.perf_counter()
            self.learner.learn()
            collecting, learning = collecting + decided - begin, learning + time.perf_counter() - decided
        self.env_steps += self.steps_per_iteration
        self.iteration += 1
        self.seconds += collecting + learning
        figures = reward_figures(torch.cat(rewards)) | self.learner.figures()
        return self._record(collecting, learning) | self.episodes.commit() | figures

    def _record(self, collecting: float, learning: float) -> Record:
        return {
            "step": self.env_steps,
            "iteration": self.iteration,
            "seconds": self.seconds,
            "steps_per_second": self.steps_per_iteration / (collecting + learning),
            "collect_seconds": collecting,
            "update_seconds": learning,
        }

    def save(self, run_dir: Path, run_config: Mapping[str, Any]) -> Path:
        """Write a checkpoint."""
        return checkpoint.save(
            run_dir,
            env_steps=self.env_steps,
            iteration=self.iteration,
            policy=self.policy,
            normalizer=self.normalizer,
            training=self.state_dict(),
            spec=self.env.spec,
            config=run_config,
            keep=self.config.keep_checkpoints,
        )

    def resume(self, source: Path) -> None:
        """Continue from a checkpoint."""
        found = checkpoint.load(source)
        checkpoint.load_model(found, self.policy, self.normalizer)
        self.load_state_dict(found.training())

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the model's tensors."""
        return {
            "learner": self.learner.state_dict(),
            "episodes": self.episodes.state_dict(),
            "random": random_state(self.env.device),
            "counters": {"env_steps": self.env_steps, "iteration": self.iteration, "seconds": self.seconds},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the model's tensors have been loaded before."""
        self.learner.load_state_dict(state["learner"])
        self.episodes.load_state_dict(state["episodes"])
        counters = state["counters"]
        self.env_steps, self.iteration = counters["env_steps"], counters["iteration"]
        self.seconds = counters["seconds"]
        load_random_state(state["random"], self.env.device)  # last: nothing may draw from here on


def reward_figures(reward: Tensor) -> dict[str, float]:
    """Mean and deviation of the rewards (n,) of an iteration's decisions."""
    return {"reward": reward.mean().item(), "reward/std": reward.std(correction=0).item()}
