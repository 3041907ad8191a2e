"""Decisions a second at which a compact VLA learns `put_on_plate` from pixels, and what its images cost.

    python -m benchmarks.tabletop                      # three rounds, about fifteen minutes

Training: `embodied train` with the settings that `embodied bench vla` has for PPO (configs/bench_vla.yaml), but on all
threads and with as many processes that draw, and without the updates in which the critic learns alone. Decisions over
the seconds of its log: rollouts, images, updates.

Peer: the same loop of Stable-Baselines3's PPO on its DummyVecEnv of Gymnasium's ``embodied/put_on_plate``, as is usual
there: one simulation and one camera an environment, stepped and drawn one after the other. It has the same network,
decisions an update, minibatches (ours are computed in the pieces of ``algo.micro_batch``) and epochs; fewer
environments, because each holds a graphics context, and so more decisions of each in a rollout. ``--peer-threads``: of
torch. What it is slower by is the batch of worlds as much as the learner.

The first rollout and update of both, which warm up, do not count.

Images: those that a camera draws of worlds whose looks it knows, against the same renderer that draws its last scene
again and again.

Bars: 100 decisions a second; 3x the peer's; 80 % of the renderer's frame rate. Training and its peer take turns, each
in a process of its own; ratios are taken within a round, medians reported. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from embodied.metrics import read_jsonl
from envs.graphics import choose_gl

from .common import machine, report, rounds, spread, timed, write

ROOT = Path(__file__).resolve().parent.parent
STEPS = 15
"""Decisions of an episode of ``put_on_plate`` in chunks of 4, as many as a rollout of ours takes of each world."""
DECISIONS, IMAGES, PEER = 100.0, 0.8, 3.0


def protocol() -> dict[str, Any]:
    """How `embodied bench vla` trains."""
    plan = OmegaConf.load(ROOT / "configs" / "bench_vla.yaml")
    return OmegaConf.to_container(plan.protocol, resolve=True)  # type: ignore[return-value]


def settings(worlds: int, threads: int) -> list[str]:
    """For `embodied train`: the protocol's settings of PPO, from no weights, which make no difference to the speed."""
    plan = protocol()
    given = ["task=put_on_plate", *plan["task"], f"task.chunk={plan['chunk']}", *plan["policy"], *plan["train"]]
    workers = threads if threads > 1 else 0
    given += [*plan["methods"]["ppo"]["settings"], f"task.num_render_workers={workers}", "device=cpu"]
    return [*given, "algo.critic_warmup=0", f"num_worlds={worlds}", f"num_threads={threads}"]


def train(args: argparse.Namespace) -> float:
    """Decisions a second of ours after the first rollout."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir, steps = Path(folder) / "run", (args.iterations + 1) * args.worlds * STEPS * protocol()["chunk"]
        budget = [f"total_steps={steps}", f"checkpoint_interval={steps}", f"run_dir={run_dir}"]
        command = [sys.executable, "-m", "scripts.cli", "train", *settings(args.worlds, args.threads), *budget]
        _run(command)
        records = read_jsonl(run_dir / "metrics.jsonl")
    first, last = records[0], records[-1]
    return (last["step"] - first["step"]) / protocol()["chunk"] / (last["seconds"] - first["seconds"])


def train_peer(args: argparse.Namespace) -> float:
    """Decisions a second of SB3."""
    job = {
        "settings": settings(args.worlds, args.threads),
        "worlds": args.peer_worlds,
        "decisions": args.worlds * STEPS,
        "iterations": args.peer_iterations,
        "threads": args.peer_threads or args.threads,
    }
    out = _run([sys.executable, "-m", "benchmarks.peers.tabletop_worker", json.dumps(job)])
    return float(json.loads(out.splitlines()[-1])["decisions_per_second"])


def _run(command: Sequence[str]) -> str:
    """The standard output of a command, in the checkout; its errors are ours."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "120"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


# Images -------------------------------------------------------------------------------------------------------------


def images(size: int, frames: int, count: int) -> dict[str, Any]:
    """Frames a second of a camera that goes from world to world, and of its renderer alone."""
    choose_gl()
    import envs
    from envs.tasks.tabletop.camera import Camera

    env: Any = envs.make("put_on_plate", num_worlds=frames, num_threads=1, overrides={"image_size": size})
    env.reset(seed=0)
    qpos, number = env.physics.field("qpos").numpy(), np.array([ep.number for ep in env.episodes])
    camera = Camera("in_distribution", size, env.config.physics_dt)
    seen = (np.arange(frames), qpos, number, np.zeros(frames, np.int64), np.zeros((frames, size, size, 3), np.uint8))
    sides = {
        "images": lambda: timed(lambda: camera.shoot(*seen)),
        "renderer": lambda: timed(lambda: [camera.draw() for _ in range(frames)]),
    }
    rounds(sides, 1, frames)  # warms up
    rates = rounds(sides, count, frames)
    camera.close()
    env.close()
    ratios = [ours / raw for ours, raw in zip(rates["images"], rates["renderer"], strict=True)]
    return {"frames_per_second": {name: spread(x) for name, x in rates.items()}, "ratio": spread(ratios)}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark; returns what it writes."""
    args = _arguments(argv)
    results: dict[str, Any] = {"machine": machine(), "arguments": vars(args)}
    results["images"] = images(args.image_size, args.frames, args.image_rounds)
    bars = {"images": report("images / renderer", results["images"]["ratio"]["median"], IMAGES)}
    sides = {"ours": lambda: 1 / train(args), "sb3": lambda: 1 / train_peer(args)}
    rates = rounds(sides, args.rounds, 1)
    ratios = [ours / peer for ours, peer in zip(rates["ours"], rates["sb3"], strict=True)]
    results["training"] = {
        "decisions_per_second": {name: spread(x) for name, x in rates.items()},
        "ratio": spread(ratios),
    }
    speed = results["training"]["decisions_per_second"]["ours"]["median"]
    bars["decisions"] = report("decisions a second", speed, DECISIONS)
    bars["peer"] = report("decisions a second / SB3", results["training"]["ratio"]["median"], PEER, "x")
    results["bars"] = bars
    write(args.out, results)
    return results


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worlds", type=int, default=256, help="of ours")
    parser.add_argument(
        "--iterations", type=int, default=2, help="rollouts of ours that count, each 15 decisions a world"
    )
    parser.add_argument("--peer-worlds", type=int, default=16, help="environments of SB3")
    parser.add_argument(
        "--peer-iterations", type=int, default=1, help="rollouts of SB3, each as many decisions as ours"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="of all sides; more than one: as many draw images of ours"
    )
    parser.add_argument("--peer-threads", type=int, default=0, help="threads of the peer's torch; 0: as ours")
    parser.add_argument("--image-size", type=int, default=64, help="of the images alone; training has the protocol's")
    parser.add_argument("--frames", type=int, default=256, help="of a round of images")
    parser.add_argument("--image-rounds", type=int, default=15)
    parser.add_argument("--out", default="results/benchmarks/tabletop.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(0 if all(bar["holds"] for bar in main()["bars"].values()) else 1)
