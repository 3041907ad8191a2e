"""One learner trains one task in a process of its own and reports as a line of JSON; see ``benchmarks/learner.py``.

python -m benchmarks.peers.learner_worker '{"learner": "ours", "task": "go2_velocity", "seed": 0, ...}'
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import envs
from benchmarks.common import memory_mb
from embodied.evaluate import evaluate
from embodied.ppo import PPOConfig
from embodied.runtime import use_threads
from embodied.train import TrainConfig, train
from embodied.types import Obs, VecEnv

Act = Callable[[Obs], Tensor]


@dataclass(frozen=True)
class Job:
    """What every learner is given alike: task, worlds, steps, net, batch, epochs, and the usual constants of PPO.

    learning_rate: of the learners that adapt it (ours and rsl_rl's), where they start.  sb3_learning_rate: SB3 does not
    adapt, and gets its own default.  threads: of the simulation.  torch_threads: of torch; 0: as ``threads``.
    steps: environment steps to train for.  episodes: of the evaluation; 0: none.
    compile: ours with ``algo.compile``; compiling counts as training.  normalize_value: ours with standardised targets
    of the critic, for tasks with returns of hundreds; the rewards of all are as they are.  matmul_precision: ours.
    """

    learner: str
    task: str
    seed: int = 0
    steps: int = 1_000_000
    worlds: int = 1024
    threads: int = 0
    torch_threads: int = 0
    hidden: tuple[int, ...] = (128, 128, 64)
    num_steps: int = 24
    num_minibatches: int = 4
    num_epochs: int = 5
    learning_rate: float = 1e-3
    sb3_learning_rate: float = 3e-4
    entropy_coef: float = 0.005
    gamma: float = 0.99
    lam: float = 0.95
    clip_range: float = 0.2
    episodes: int = 128
    compile: bool = False
    normalize_value: bool = False
    matmul_precision: str = "highest"

    @property
    def iterations(self) -> int:
        """Rollouts in ``steps``."""
        return max(1, round(self.steps / (self.worlds * self.num_steps)))

    def env(self, worlds: int | None = None, seed: int | None = None) -> VecEnv:
        """The task; all learners run the very same code here."""
        seed = self.seed if seed is None else seed
        return envs.make(self.task, num_worlds=worlds or self.worlds, num_threads=self.threads, seed=seed)


def train_ours(job: Job, env: VecEnv) -> tuple[float, Act]:
    """This suite's PPO by its own training loop, log and checkpoint included."""
    import policies

    torch.manual_seed(job.seed)
    policy = policies.make({"kind": "mlp", "hidden": job.hidden, "activation": "elu"}, env.spec)
    algo = PPOConfig(
        num_steps=job.num_steps,
        num_epochs=job.num_epochs,
        num_minibatches=job.num_minibatches,
        learning_rate=job.learning_rate,
        entropy_coef=job.entropy_coef,
        gamma=job.gamma,
        lam=job.lam,
        clip_range=job.clip_range,
        compile=job.compile,
        normalize_value=job.normalize_value,
    )
    steps = job.iterations * job.worlds * job.num_steps
    config = TrainConfig(
        total_steps=steps,
        checkpoint_interval=steps,
        seed=job.seed,
        algo=algo,
        num_threads=job.threads,
        matmul_precision=job.matmul_precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        result = train(env, policy, config, folder)
        seconds = time.perf_counter() - begin
    see = result.normalizer
    assert see is not None
    return seconds, lambda obs: policy.act(see(obs), deterministic=True).action


def train_sb3(job: Job, env: VecEnv) -> tuple[float, Act]:
    """Stable-Baselines3's PPO behind its VecNormalize, on our environment."""
    from envs.adapters.sb3 import SB3VecEnv

    return _train_sb3(job, SB3VecEnv(env))


def train_sb3_gymnasium(job: Job, env: VecEnv) -> tuple[float, Act]:
    """Stable-Baselines3's PPO as its users run it: on Gymnasium's own environment, in its DummyVecEnv.

    For the classics, which equal Gymnasium's step for step (tests/envs/tasks/classic/test_task.py).
    """
    from stable_baselines3.common.env_util import make_vec_env

    if job.task not in CLASSICS:
        raise ValueError(f"Gymnasium has no {job.task!r}; choose from {', '.join(CLASSICS)}")
    return _train_sb3(job, make_vec_env(CLASSICS[job.task], n_envs=job.worlds, seed=job.seed))


def _train_sb3(job: Job, venv: Any) -> tuple[float, Act]:
    import numpy as np
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    view = VecNormalize(venv, norm_reward=False, gamma=job.gamma)
    model = PPO(
        "MlpPolicy",
        view,
        n_steps=job.num_steps,
        batch_size=job.worlds * job.num_steps // job.num_minibatches,
        n_epochs=job.num_epochs,
        learning_rate=job.sb3_learning_rate,
        ent_coef=job.entropy_coef,
        gamma=job.gamma,
        gae_lambda=job.lam,
        clip_range=job.clip_range,
        vf_coef=1.0,
        max_grad_norm=1.0,
        policy_kwargs={
            "net_arch": {"pi": list(job.hidden), "vf": list(job.hidden)},
            "activation_fn": torch.nn.ELU,
        },
        seed=job.seed,
        device="cpu",
    )
    begin = time.perf_counter()
    model.learn(job.iterations * job.worlds * job.num_steps)
    seconds = time.perf_counter() - begin

    def act(obs: Obs) -> Tensor:
        seen = view.normalize_obs(obs["policy"].numpy())
        action, _ = model.predict(np.asarray(seen), deterministic=True)
        return torch.from_numpy(action)[:, None]

    return seconds, act


def train_rsl_rl(job: Job, env: VecEnv) -> tuple[float, Act]:
    """rsl_rl's OnPolicyRunner, with its empirical normalisation and adaptive learning rate."""
    from rsl_rl.runners import OnPolicyRunner
    from tensordict import TensorDict

    from envs.adapters.rsl_rl import RslRlVecEnv, obs_groups

    torch.manual_seed(job.seed)
    net = {"class_name": "MLPModel", "hidden_dims": list(job.hidden), "activation": "elu", "obs_normalization": True}
    algorithm = {
        "class_name": "PPO",
        "num_learning_epochs": job.num_epochs,
        "num_mini_batches": job.num_minibatches,
        "learning_rate": job.learning_rate,
        "schedule": "adaptive",
        "desired_kl": 0.01,
        "entropy_coef": job.entropy_coef,
        "gamma": job.gamma,
        "lam": job.lam,
        "clip_param": job.clip_range,
    }
    config = {
        "num_steps_per_env": job.num_steps,
        "save_interval": 10**9,
        "obs_groups": obs_groups(env),
        "actor": net | {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 1.0}},
        "critic": dict(net),
        "algorithm": algorithm,
    }
    runner = OnPolicyRunner(RslRlVecEnv(env), config, log_dir=None, device="cpu")
    begin = time.perf_counter()
    runner.learn(job.iterations)
    seconds = time.perf_counter() - begin
    policy = runner.get_inference_policy()

    def act(obs: Obs) -> Tensor:
        return policy(TensorDict(dict(obs), batch_size=[env_rows(obs)])).unflatten(-1, (env.spec.action.chunk, -1))

    return seconds, act


def env_rows(obs: Obs) -> int:
    """B."""
    return next(iter(obs.values())).shape[0]


LEARNERS = {"ours": train_ours, "sb3": train_sb3, "sb3_gymnasium": train_sb3_gymnasium, "rsl_rl": train_rsl_rl}
CLASSICS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "half_cheetah": "HalfCheetah-v5", "ant": "Ant-v5"}


def run(job: Job) -> dict[str, Any]:
    """Train, note the memory, evaluate."""
    use_threads(job.torch_threads or job.threads)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # the first one imports for seconds; no learner pays for it
    env = job.env()
    seconds, act = LEARNERS[job.learner](job, env)
    memory = memory_mb()
    env.close()
    steps = job.iterations * job.worlds * job.num_steps
    result = {"learner": job.learner, "seed": job.seed, "steps": steps, "seconds": seconds, "memory_mb": memory}
    result["steps_per_second"] = steps / seconds
    if job.episodes:
        test = job.env(worlds=min(job.episodes, 128), seed=10_000 + job.seed)
        with torch.no_grad():
            metrics = evaluate(test, act, job.episodes, seed=10_000 + job.seed)["metrics"]
        result["return"] = metrics["return"]
        test.close()
    return result


def main() -> None:
    """Run the job of the first argument; everything but its result goes to stderr."""
    data = json.loads(sys.argv[1])
    out, sys.stdout = sys.stdout, sys.stderr
    job = replace(Job(**data), hidden=tuple(data.get("hidden", Job.hidden)))
    print(json.dumps(run(job)), file=out)


if __name__ == "__main__":
    main()
