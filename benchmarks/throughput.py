"""Environment steps a second, against the raw physics underneath and against EnvPool.

    python -m benchmarks.throughput                                   # raw physics only
    python -m benchmarks.throughput --envpool-python /path/to/python  # and EnvPool, installed there

* raw: one call of ``mujoco.batch.Batch.step`` a control period, on a batch of its own: the environment's model, shared
  by all worlds with its nominal values; as many worlds, threads and substeps; each round from the environment's states.
  The joint targets are written at once (no delay, no limits), and nothing is read back: no field is bound, and there is
  no observation, reward, reset, randomisation or look at failures. Bar: the environment reaches 85 % of its rate.
  (Values per world and the fields that it reads cost nothing that could be measured; what comes before and after does.)
* peer: EnvPool's Go1JoystickFlatTerrain-v1 (MuJoCo Playground's joystick task in C++) at its control period against
  our ``--peer-task`` at the same one. Bar: twice its rate. Physics settings are each side's own; the result file says
  which.

All sides run the same number of worlds on the same number of threads with actions of the same spread of joint targets,
in alternating rounds of one run; ratios are taken within a round, and the median is reported. Rounds are short and
many: machines change their speed for seconds at a time, which is then the same for both sides of nearly every round.
Within a round, environment and raw physics start from the same states and take the same targets. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from mujoco.batch import Batch

import envs
from embodied.runtime import use_threads
from envs.mujoco.batch import available_cpus

from .common import machine, report, rounds, spread, timed, write

PEER = "Go1JoystickFlatTerrain-v1"
WARM_UP = 5  # rounds that do not count
PEER_ACTION_SCALE = 0.5  # rad a unit, its configuration's action_scale
WORKER = Path(__file__).parent / "peers" / "envpool_worker.py"


class Ours:
    """Our environment and, beside it, the raw physics of the same model."""

    def __init__(self, task: str, worlds: int, threads: int, target_std: float) -> None:
        self.env = cast(Any, envs.make(task, num_worlds=worlds, num_threads=threads, engine="batch", seed=0))
        self.env.reset(seed=0)
        spec, physics = self.env.spec.action, self.env.physics
        generator = torch.Generator().manual_seed(0)
        noise = target_std * torch.randn(16, worlds, spec.size, generator=generator)
        offset, scale = torch.tensor(spec.offset), torch.tensor(spec.scale)
        self.actions = (noise / scale)[:, :, None]
        self.targets = (offset + noise).numpy()
        self.taken = 0
        self.raw = Batch(physics.model, worlds, threads)
        self.ctrl = self.raw.bind("ctrl")

    @torch.inference_mode()
    def step(self, steps: int) -> None:
        """Environment steps."""
        for step in range(self.taken, self.taken + steps):
            self.env.step(self.actions[step % len(self.actions)])

    def match(self, taken: int) -> None:
        """Put the raw physics where the environment is; both go on after ``taken`` of the prepared actions."""
        self.raw.state[:] = self.env.physics.state_dict()["state"].numpy()
        self.taken = taken

    def step_raw(self, steps: int) -> None:
        """The same control periods by the physics alone."""
        for step in range(self.taken, self.taken + steps):
            self.ctrl[:] = self.targets[step % len(self.targets)]
            self.raw.step(nstep=self.env.substeps)


class Peer:
    """EnvPool in a process of its own, which sleeps between rounds."""

    def __init__(self, python: str, worlds: int, threads: int, target_std: float) -> None:
        arguments = [PEER, str(worlds), str(threads), str(target_std / PEER_ACTION_SCALE)]
        self.process = subprocess.Popen(
            [python, str(WORKER), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.description: dict[str, Any] = json.loads(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the EnvPool worker ended with status {self.process.wait()}; is envpool installed there?"
            )
        return line

    def seconds(self, steps: int) -> float:
        """Seconds that it takes for so many steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


def compare(ours: Ours, args: argparse.Namespace) -> dict[str, Any]:
    """Environment against its own raw physics."""

    sides = {
        "environment": lambda: timed(lambda: ours.step(args.steps)),
        "raw": lambda: timed(lambda: ours.step_raw(args.steps)),
    }

    def begin(number: int) -> None:
        ours.match(number * args.steps)

    rounds(sides, WARM_UP, 1, begin)
    rates = rounds(sides, args.rounds, args.worlds * args.steps, begin)
    return _summary(rates, "environment", "raw")


def compare_peer(ours: Ours, peer: Peer, args: argparse.Namespace) -> dict[str, Any]:
    """Environment against EnvPool."""
    period = peer.description["control_dt"]
    if period is not None and abs(period - ours.env.spec.control_dt) > 1e-9:
        raise SystemExit(f"control periods differ: {period} s there, {ours.env.spec.control_dt} s here")
    sides = {
        "environment": lambda: timed(lambda: ours.step(args.steps)),
        "envpool": lambda: peer.seconds(args.steps),
    }

    def begin(number: int) -> None:
        ours.taken = number * args.steps

    rounds(sides, WARM_UP, 1, begin)
    return _summary(rounds(sides, args.rounds, args.worlds * args.steps, begin), "environment", "envpool")


def _summary(rates: dict[str, list[float]], ours: str, other: str) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(rates[ours], rates[other], strict=True)]
    return {"steps_per_second": {name: spread(values) for name, values in rates.items()}, "ratio": spread(ratios)}


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark; returns what it writes."""
    args = _arguments(argv)
    args.threads = args.threads or available_cpus()
    use_threads(args.threads)
    results: dict[str, Any] = {"machine": machine(), "arguments": vars(args), "bars": {}}
    ours = Ours(args.task, args.worlds, args.threads, args.target_std)
    results["raw"] = compare(ours, args) | _settings(ours)
    ratio = results["raw"]["ratio"]["median"]
    results["bars"]["environment / raw physics"] = report(f"{args.task} / raw physics", ratio, 0.85)
    ours.env.close()
    if args.envpool_python:
        ours = Ours(args.peer_task, args.worlds, args.threads, args.target_std)
        peer = Peer(args.envpool_python, args.worlds, args.threads, args.target_std)
        results["envpool"] = compare_peer(ours, peer, args) | _settings(ours) | {"peer": peer.description}
        peer.close()
        ratio = results["envpool"]["ratio"]["median"]
        results["bars"]["environment / EnvPool"] = report(f"{args.peer_task} / EnvPool {PEER}", ratio, 2.0, "x")
    for part in ("raw", "envpool"):
        for name, values in results.get(part, {}).get("steps_per_second", {}).items():
            print(f"  {part}: {name} {values['median']:,.0f} steps/s ({values['min']:,.0f} to {values['max']:,.0f})")
    write(args.out, results)
    return results


def _settings(ours: Ours) -> dict[str, Any]:
    spec = ours.env.spec
    return {"task": spec.name, "control_dt": spec.control_dt, "physics_dt": spec.physics_dt}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="go2_velocity", help="task compared with its raw physics")
    parser.add_argument("--peer-task", default="go1_velocity", help="task compared with EnvPool's")
    parser.add_argument(
        "--envpool-python", default=None, help="a Python with envpool; without it that part is left out"
    )
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as CPUs")
    parser.add_argument("--steps", type=int, default=4, help="control steps a round")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--target-std", type=float, default=0.1, help="spread of the joint targets, rad")
    parser.add_argument("--out", default="results/benchmarks/throughput.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    held = main()["bars"].values()
    sys.exit(0 if all(bar["holds"] for bar in held) else 1)
