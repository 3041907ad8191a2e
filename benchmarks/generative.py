"""How long generative policies take: to decide, as ONNX on one thread, and to learn from a rollout.

    python -m benchmarks.generative                    # hopper's observations, chunks of 4

Latency: what a robot calls once a decision, :class:`sim2real.inference.OnnxPolicy` at batch 1 with fresh noise; the
flow and a Gaussian perceptron of the same widths take turns. Update: one ``PPO.update`` of every policy on the same
recorded observations and rewards, with networks as in ``configs/policy``; policies take turns, the order turns round
from round to round, and ratios are taken within a round.

Bars: median latency of the flow with K = 4 below 0.5 ms. Update time of ReinFlow with K = 4 at most 1/3 of that of
DPPO with K = 20, all of which are fine-tuned, and no more than that of DPPO with K = 4; of NCDPO with K = 5 at most
2.5 times that of the Gaussian perceptron. Beside them, without a bar: DPPO that fine-tunes 10 of 20 steps, as
published for Gym; Flow-SDE with one random step instead of all. Run it alone.

Legend: T decisions of B rows; K sampling steps.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

import envs
import policies
from embodied.normalize import ObsNormalizer
from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Carry, Rollout, collect
from embodied.runtime import fast_matmul
from embodied.types import Obs, StepResult, TaskSpec

from .common import machine, report, spread, timed, write

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
LATENCY_MS = 0.5
WARMUP = 100
LATENCY = {
    "flow K=4": ("reinflow", "policy.flow.steps=4"),
    "mlp": ("mlp", "policy.hidden=[256,256,256]"),
}
UPDATE = {
    "reinflow K=4": ("reinflow", "policy.flow.steps=4"),
    "dppo K=4": ("dppo", "policy.diffusion.train_steps=4"),
    "dppo K=20": ("dppo", "policy.diffusion.train_steps=20"),
    "dppo K=20, 10 tuned": ("dppo", "policy.diffusion.train_steps=20", "policy.finetune_steps=10"),
    "flow_sde K=4": ("flow_sde", "policy.flow.steps=4"),
    "flow_sde K=4, one random": ("flow_sde", "policy.flow.steps=4", "++policy.random_steps=one"),
    "ncdpo K=5": ("ncdpo", "policy.diffusion.train_steps=5"),
    "mlp": ("mlp",),
}
"""name -> (choice of configs/policy, overrides); the networks of a ratio have the same widths."""
RATIOS: dict[tuple[str, str], float | None] = {
    ("reinflow K=4", "dppo K=20"): 1 / 3,
    ("reinflow K=4", "dppo K=4"): 1.0,
    ("ncdpo K=5", "mlp"): 2.5,
    ("reinflow K=4", "dppo K=20, 10 tuned"): None,
    ("dppo K=4", "mlp"): None,
    ("flow_sde K=4, one random", "flow_sde K=4"): None,
}


def make_policy(name: str, spec: TaskSpec, *overrides: str) -> Any:
    """A policy as ``policy=<name>`` and these overrides make it."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(overrides=[f"+policy={name}", *overrides])
    return policies.make(OmegaConf.to_container(config.policy, resolve=True), spec)  # type: ignore[arg-type]


# Latency --------------------------------------------------------------------------------------------------------


def make_network(policy: Any, spec: TaskSpec) -> Any:
    """The policy in onnxruntime, as a bundle holds it."""
    from sim2real.deployed import DeployedPolicy
    from sim2real.export import to_onnx
    from sim2real.inference import OnnxPolicy

    deployed = DeployedPolicy(policy, ObsNormalizer.of(spec), spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        path.write_bytes(to_onnx(deployed))
        return OnnxPolicy(path, deployed.contract)


def decide(network: Any, calls: int, generator: np.random.Generator) -> list[float]:
    """Milliseconds of each of so many decisions at batch 1, drawing the noise included."""
    obs = generator.standard_normal((1, *network.contract.obs_shape), np.float32)
    spent = []
    for _ in range(calls):
        begin = time.perf_counter_ns()
        network(obs, {}, network.draw_noise(1, generator))
        spent.append((time.perf_counter_ns() - begin) / 1e6)
    return spent


def latency(spec: TaskSpec, calls: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median and 99th percentile [ms] of ``calls`` decisions, in ``rounds`` turns."""
    generator = np.random.default_rng(0)
    networks = {name: make_network(make_policy(kind, spec, *more), spec) for name, (kind, *more) in LATENCY.items()}
    spent: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        decide(network, WARMUP, generator)
    for turn in range(rounds):
        for name in turned(list(networks), turn):
            spent[name] += decide(networks[name], -(-calls // rounds), generator)
    return {
        name: {"calls": len(x), "p50": float(np.percentile(x, 50)), "p99": float(np.percentile(x, 99))}
        for name, x in spent.items()
    }


# Update ---------------------------------------------------------------------------------------------------------


class Replay:
    """An environment that hands out what was recorded in another, whatever it is told to do."""

    def __init__(self, spec: TaskSpec, first: Obs, steps: Sequence[StepResult]) -> None:
        self.spec, self._first, self._steps = spec, first, steps
        self.num_rows, self.device = len(first["policy"]), torch.device("cpu")
        self._next = 0

    def reset(self, seed: int | None = None) -> Obs:
        """From the beginning."""
        self._next = 0
        return self._first

    def step(self, action: Tensor) -> StepResult:
        """The next recorded step."""
        self._next += 1
        return self._steps[self._next - 1]


def recorded(task: str, chunk: int, rows: int, steps: int) -> Replay:
    """T steps of B rows of a task under random actions."""
    torch.manual_seed(0)
    env = envs.make(task, num_worlds=rows, num_threads=1, overrides={"chunk": chunk})
    first = env.reset(0)
    size = (rows, chunk, env.spec.action.size)
    results = [env.step(torch.rand(size) * 2 - 1) for _ in range(steps)]
    env.close()
    return Replay(env.spec, first, results)


def make_update(env: Replay, policy: Any, args: argparse.Namespace) -> Any:
    """A function that lets a fresh learner update the policy on its own decisions about the recording.

    The learning rate is so small that no later round meets another policy.
    """
    normalizer = ObsNormalizer.of(env.spec)
    rollout = Rollout(args.num_steps, env.num_rows)
    for _ in range(2):  # the first one fills the normaliser
        collect(env, policy, rollout, Carry.start(env, policy, env.reset()), normalizer)  # type: ignore[arg-type]
        normalizer.commit()
    algo = PPOConfig(
        num_steps=args.num_steps,
        num_epochs=args.num_epochs,
        num_minibatches=args.num_minibatches,
        learning_rate=1e-7,
        schedule="constant",
    )
    learner = PPO(policy, algo, chunk=env.spec.action.chunk)
    return lambda: learner.update(rollout)


def updates(env: Replay, args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of one update of each policy, round by round."""
    learners = {
        name: make_update(env, make_policy(kind, env.spec, *more), args) for name, (kind, *more) in UPDATE.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in learners}
    with fast_matmul(env.device):  # as the training loop has it
        for update in learners.values():
            update()
        for turn in range(args.rounds):
            for name in turned(list(learners), turn):
                gc.collect()
                seconds[name].append(timed(learners[name]))
    return seconds


def turned(names: list[str], turn: int) -> list[str]:
    """The names, in reverse in every other turn."""
    return names if turn % 2 == 0 else names[::-1]


# Results --------------------------------------------------------------------------------------------------------


def summarise(times: Mapping[str, Mapping[str, float]], seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Ratios by round, and the bars."""
    flow = times["flow K=4"]["p50"]
    bars = {"latency / flow K=4": report("latency of a flow, K=4", flow, LATENCY_MS, " ms", at_most=True)}
    ratios: dict[str, Any] = {}
    for (name, other), bar in RATIOS.items():
        key = f"{name} / {other}"
        ratios[key] = spread([a / b for a, b in zip(seconds[name], seconds[other], strict=True)])
        if bar is None:
            print(f"update time of {key}: {ratios[key]['median']:.3g}x")
        else:
            bars[key] = report(f"update time of {key}", ratios[key]["median"], bar, "x", at_most=True)
    return {
        "latency_ms": times,
        "update_seconds": {name: spread(values) for name, values in seconds.items()},
        "update_ratios": ratios,
        "bars": bars,
    }


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark; returns what it writes."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    results: dict[str, Any] = {"machine": machine(), "arguments": vars(args)}
    env = recorded(args.task, args.chunk, args.worlds, args.num_steps)
    times = latency(env.spec, args.calls, args.rounds)
    for name, figures in times.items():
        print(f"  {name}: p50 {figures['p50']:.3f} ms, p99 {figures['p99']:.3f} ms over {figures['calls']} decisions")
    results |= summarise(times, updates(env, args))
    write(args.out, results)
    return results


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="hopper")
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--calls", type=int, default=4000, help="timed decisions of each network")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worlds", type=int, default=16)
    parser.add_argument("--num-steps", type=int, default=128)
    parser.add_argument("--num-minibatches", type=int, default=32)
    parser.add_argument("--num-epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of torch; onnxruntime has one")
    parser.add_argument("--out", default="results/benchmarks/generative.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    held = main()["bars"].values()
    sys.exit(0 if all(bar["holds"] for bar in held) else 1)
