"""Stable-Baselines3's PPO learns `put_on_plate` from pixels with our network; see ``benchmarks/tabletop.py``.

python -m benchmarks.peers.tabletop_worker '{"settings": ["task=put_on_plate", ...], "worlds": 16, ...}'
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecTransposeImage
from torch import Tensor, nn

import policies
from embodied.runtime import use_threads
from embodied.types import Obs, TaskSpec
from envs.adapters.registration import register
from scripts.config import plain
from scripts.train import configure


@dataclass(frozen=True)
class Job:
    """settings: of `embodied train`, for task, network and algorithm.

    worlds: environments.  decisions: of an update, over all.  iterations: updates that count, after one that does not.
    threads: of torch.
    """

    settings: list[str]
    worlds: int
    decisions: int
    iterations: int
    threads: int

    def __post_init__(self) -> None:
        if self.decisions % self.worlds:
            raise ValueError(f"{self.decisions} decisions are no whole number of steps of {self.worlds} environments")


class Wrapped(ActorCriticPolicy):
    """One of our policies as SB3 calls its own; its observation is the dict of all groups."""

    def __init__(self, *args: Any, ours: nn.Module, **kwargs: Any) -> None:
        self._given: nn.Module
        object.__setattr__(self, "_given", ours)  # nn.Module takes no modules before its own constructor
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Any) -> None:
        self.ours: Any = self._given
        self.optimizer = torch.optim.Adam(self._given.parameters(), lr_schedule(1))

    def forward(  # type: ignore[override]
        self, obs: Obs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (B, H, A), values (B,), log-probabilities (B,)."""
        decision = self.ours.act(obs, deterministic=deterministic)
        return decision.action, decision.value, decision.log_prob.sum(-1)

    def evaluate_actions(self, obs: Obs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Values, log-probabilities and entropies (B,) of what was decided before."""
        seen = self.ours.evaluate_actions(obs, actions.view(-1, *self.ours.chunk), {})
        return seen.value, seen.log_prob.sum(-1), seen.entropy.sum(-1)

    def predict_values(self, obs: Obs) -> Tensor:  # type: ignore[override]
        """(B,)."""
        return self.ours.value(obs)


def learner(job: Job) -> PPO:
    """SB3's PPO as ours is set."""
    config = plain(configure(job.settings))
    task, algo = config["task"], config["algo"]
    register()
    options: dict[str, Any] = {"obs_group": None, "overrides": {**task, "num_render_workers": 0}}
    venv = make_vec_env(partial(gymnasium.make, "embodied/put_on_plate", **options), n_envs=job.worlds, seed=0)
    spec: TaskSpec = venv.get_attr("unwrapped")[0].env.spec
    return PPO(
        Wrapped,
        VecTransposeImage(venv, skip=True),  # pixels stay channels last, as our network wants them
        policy_kwargs={"ours": policies.make(config["policy"], spec)},
        n_steps=job.decisions // job.worlds,
        batch_size=job.decisions // algo["num_minibatches"],
        n_epochs=algo["num_epochs"],
        learning_rate=algo["learning_rate"],
        ent_coef=algo["entropy_coef"],
        gamma=algo["gamma"],
        gae_lambda=algo["lam"],
        clip_range=algo["clip_range"],
        max_grad_norm=algo["max_grad_norm"],
        seed=0,
        device="cpu",
    )


def main() -> None:
    """Run the job of the first argument; everything but its result goes to stderr."""
    job = Job(**json.loads(sys.argv[1]))
    out, sys.stdout = sys.stdout, sys.stderr
    use_threads(job.threads)
    model = learner(job)
    model.learn(job.decisions)
    first, begin = model.num_timesteps, time.perf_counter()
    model.learn(job.iterations * job.decisions, reset_num_timesteps=False)
    rate = (model.num_timesteps - first) / (time.perf_counter() - begin)
    print(json.dumps({"decisions_per_second": rate}), file=out)


if __name__ == "__main__":
    main()
