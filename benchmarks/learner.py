"""Training steps a second from end to end, and the return they buy, against SB3's PPO and rsl_rl's runner.

    python -m benchmarks.learner                       # go2_velocity, 1024 worlds, 1M steps, three rounds
    python -m benchmarks.learner --task hopper --worlds 16 --num-steps 128 --num-minibatches 32 --num-epochs 10 \\
        --hidden 64 64 --steps 200000 --against sb3_gymnasium rsl_rl --peers-wait active --compile --normalize-value

All train our environment through its adapters with the same networks, batch, minibatches and epochs; SB3 learns from
the group ``policy`` alone, since it has no asymmetric critic. ``sb3_gymnasium`` is SB3 on Gymnasium's own environment
of a classic, as its users run it; the classics here equal those step for step. Each run is a process of its own; runs
alternate, ratios are taken within a round (one seed a round), and medians are reported.

Ours waits for OpenMP's threads passively, as the command line does. A simulation on threads of its own wants that of
the peers as well; with few worlds and small minibatches they are faster with active waiting, and with one thread of
torch (``--peers-threads 1``): give them what suits them best.

Bars: at least 2x SB3's and 1.2x rsl_rl's steps a second at an equal or better return (the median of our returns not
below the other's by more than the half-width of the other's interval), and at most 1500 MB of resident memory at the
peak of our training. Run it alone. Returns of one seed vary by thousands, so that they want more seeds than speeds do:
``--jobs 2 --rounds 10`` runs two at a time and judges returns only. Without a bar stand the share of pairs, one run of
ours and one of the other's, in which ours returns more (probability of improvement, Agarwal et al. 2021), and the p of
a Mann-Whitney test that ours are no lower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import mannwhitneyu

from embodied.runtime import MATMUL_PRECISIONS

from .common import machine, report, spread, write

ROOT = Path(__file__).resolve().parent.parent
BARS = {"sb3": 2.0, "rsl_rl": 1.2, "sb3_gymnasium": 2.0}
MEMORY_MB = 1500.0


def run(learner: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own."""
    threads = args.threads if learner == "ours" else args.peers_threads or args.threads
    job = {
        "learner": learner,
        "task": args.task,
        "seed": seed,
        "steps": args.steps,
        "worlds": args.worlds,
        "threads": args.threads,
        "torch_threads": threads,
        "hidden": args.hidden,
        "num_steps": args.num_steps,
        "num_minibatches": args.num_minibatches,
        "num_epochs": args.num_epochs,
        "episodes": args.episodes,
        "compile": args.compile,
        "normalize_value": args.normalize_value,
        "matmul_precision": args.matmul_precision,
    }
    command = [sys.executable, "-m", "benchmarks.peers.learner_worker", json.dumps(job)]
    waiting = "PASSIVE" if learner == "ours" else args.peers_wait.upper()
    environment = os.environ | {"OMP_WAIT_POLICY": waiting}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{learner}, seed {seed} failed:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = f", return {result['return']['mean']:.1f}" if "return" in result else ""
    rate, peak = result["steps_per_second"], result["memory_mb"]["peak"]
    print(f"  {learner} seed {seed}: {rate:,.0f} steps/s{shown}, peak {peak:.0f} MB", flush=True)
    return result


def summarise(results: dict[str, list[dict[str, Any]]], alone: bool = True) -> dict[str, Any]:
    """Ratios of speed by round, returns over rounds, and the bars; speeds of runs that were not alone mean nothing."""
    bars: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    compared: dict[str, Any] = {}
    returns = {name: [run["return"]["mean"] for run in runs if "return" in run] for name, runs in results.items()}
    for name, bar in BARS.items():
        if name not in results:
            continue
        if alone:
            pairs = zip(results["ours"], results[name], strict=True)
            ratios[name] = spread([a["steps_per_second"] / b["steps_per_second"] for a, b in pairs])
            bars[f"speed / {name}"] = report(f"steps a second / {name}", ratios[name]["median"], bar, "x")
        if returns[name]:
            won, p = improvement(returns["ours"], returns[name])
            compared[name] = {"pairs_won": won, "p_no_lower": p}
            print(f"ours returns more than {name} in {won:.0%} of pairs; p that it returns no less: {p:.2g}")
            margin = median((run["return"]["high"] - run["return"]["low"]) / 2 for run in results[name])
            lead = median(returns["ours"]) - median(returns[name])
            bars[f"return - {name}"] = report(f"return - {name}", lead, -margin)
    peak = max(result["memory_mb"]["peak"] for result in results["ours"])
    bars["memory"] = report("resident memory at the peak", peak, MEMORY_MB, " MB", at_most=True)
    medians = {name: median(values) for name, values in returns.items() if values}
    return {"ratios": ratios, "median_returns": medians, "compared": compared, "bars": bars}


def improvement(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The share of pairs (one of ours, one of theirs) in which ours is the larger, a tie counting half; and the p-value
    of the hypothesis that ours are no lower."""
    test = mannwhitneyu(ours, theirs, alternative="less")
    return float(test.statistic) / (len(ours) * len(theirs)), float(test.pvalue)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the benchmark; returns what it writes."""
    args = _arguments(argv)
    results: dict[str, Any] = {"machine": machine(), "arguments": vars(args)}
    learners = ["ours", *args.against]
    seeds = range(args.first_seed, args.first_seed + args.rounds)
    turns = [(name, seed) for seed in seeds for name in (learners if seed % 2 == 0 else learners[::-1])]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(lambda turn: run(turn[0], turn[1], args), turns))
    runs = {name: [result for result in done if result["learner"] == name] for name in learners}
    results |= {"runs": runs} | summarise(runs, alone=args.jobs == 1)
    write(args.out, results)
    return results


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="go2_velocity")
    parser.add_argument("--against", nargs="*", choices=list(BARS), default=["sb3", "rsl_rl"])
    parser.add_argument("--steps", type=int, default=1_000_000, help="environment steps of a run")
    parser.add_argument("--rounds", type=int, default=3, help="seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--worlds", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as CPUs")
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128, 64])
    parser.add_argument("--num-steps", type=int, default=24)
    parser.add_argument("--num-minibatches", type=int, default=4)
    parser.add_argument("--num-epochs", type=int, default=5)
    parser.add_argument("--normalize-value", action="store_true", help="ours with algo.normalize_value")
    parser.add_argument("--compile", action="store_true", help="ours with algo.compile; compiling counts as training")
    parser.add_argument("--matmul-precision", choices=MATMUL_PRECISIONS, default="highest", help="ours; peers: highest")
    parser.add_argument(
        "--peers-wait", choices=["active", "passive"], default="passive", help="how the peers' OpenMP threads wait"
    )
    parser.add_argument("--peers-threads", type=int, default=0, help="the peers' threads of torch; 0: as ours")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side; with more than one, no speed is judged")
    parser.add_argument("--episodes", type=int, default=128, help="of the evaluation; 0: none")
    parser.add_argument("--out", default="results/benchmarks/learner.json")
    return parser.parse_args(argv)


if __name__ == "__main__":
    held = main()["bars"].values()
    sys.exit(0 if all(bar["holds"] for bar in held) else 1)
