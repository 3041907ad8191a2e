"""Everything that is claimed of a CUDA machine, measured in one call.

    python -m scripts.gpu_suite                                            # results/gpu/<name of the GPU>.json
    python -m scripts.gpu_suite --device cpu --num-worlds 4 --quick        # does the suite itself work?

Sections, each in a process of its own, timed; one that fails, hangs or takes the CUDA context down with it is recorded
and costs no other. The result file is written after each.

* tests: the CUDA tests of the physics engine.
* parity: C MuJoCo in float64 against the device, the same start and joint targets for 50 control steps.
* physics: control periods a second of the physics alone, and what a reset and a change of masses cost.
* environment: environment steps a second with random actions.
* training: environment steps a second of the whole learner. Bar: 500 000 at 8192 worlds.
* mjlab: our go1_velocity against mjlab's Go1 flat task, where mjlab is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

import envs
import policies
from embodied import provenance
from embodied.runtime import fast_matmul
from embodied.train import TrainConfig, Trainer
from embodied.types import VecEnv
from envs.mujoco.physics import Physics, make_physics

from .common import make_env
from .config import ROOT, plain, typed
from .train import RunConfig, configure

BAR = 500_000
MJLAB_TASK = "Mjlab-Velocity-Flat-Unitree-Go1"
MARK = "RESULT "


# Measuring ---------------------------------------------------------------------------------------------------------


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(function: Callable[[], Any], per_call: int, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """How many of ``per_call`` things a second a function does: the median over rounds, after some calls to warm up."""
    for _ in range(args.warm_up):
        function()
    rates = []
    for _ in range(args.rounds):
        wait(device)
        begin = time.perf_counter()
        for _ in range(args.steps):
            function()
        wait(device)
        rates.append(per_call * args.steps / (time.perf_counter() - begin))
    return {"per_second": statistics.median(rates), "rounds": rates}


def memory(device: torch.device) -> dict[str, float]:
    """Device memory in use by all of this process, Warp included [GB]."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {"used_gb": (total - free) / 1e9, "total_gb": total / 1e9}


def joint_targets(env: VecEnv, steps: int, spread: float = 0.1) -> torch.Tensor:
    """Random targets (steps, worlds, joints) [rad] about the default pose."""
    action = env.spec.action
    generator = torch.Generator(env.device).manual_seed(0)
    noise = torch.randn(steps, env.num_rows, action.size, generator=generator, device=env.device)
    return torch.tensor(action.offset, device=env.device) + spread * noise


def random_actions(env: VecEnv, steps: int = 16) -> torch.Tensor:
    """The actions (steps, worlds, 1, joints) whose targets are random ones."""
    action = env.spec.action
    offset, scale = (torch.tensor(values, device=env.device) for values in (action.offset, action.scale))
    return ((joint_targets(env, steps) - offset) / scale)[:, :, None]


# Sections ----------------------------------------------------------------------------------------------------------


def tests(args: argparse.Namespace) -> dict[str, Any]:
    """Run the tests that need the device."""
    path = "tests/envs/mujoco/" + ("test_cuda.py" if args.device.type == "cuda" else "test_warp_capacity.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        raise RuntimeError("\n".join(lines[-60:]))
    return {"summary": lines[-1]}


def parity(args: argparse.Namespace) -> dict[str, Any]:
    """Largest differences between the engines, per integrator."""
    results = {}
    for integrator in ("implicitfast", "discrete"):
        env = _env(args, overrides={"scene": {"integrator": integrator}}, num_worlds=4)
        home = torch.tensor(env.spec.action.offset, dtype=torch.float64)
        pair = [
            make_physics(env.physics.model, 4, engine="batch"),
            make_physics(env.physics.model, 4, engine="warp", device=args.device),
        ]
        for physics in pair:
            _start(physics)
        results[integrator] = _compare(pair, home, env.substeps)
        env.close()
    return results


def _start(physics: Physics) -> None:
    key = physics.model.key("home").id
    qpos = torch.tensor(physics.model.key_qpos[key], device=physics.device).repeat(physics.num_worlds, 1)
    worlds = torch.arange(physics.num_worlds, device=physics.device)
    qpos[:, 2] += worlds / 100
    physics.reset(worlds, qpos, torch.zeros(len(worlds), physics.model.nv, device=physics.device))


def _compare(pair: list[Physics], home: torch.Tensor, substeps: int) -> dict[str, float]:
    phase = torch.linspace(0, 6, 4 * len(home), dtype=torch.float64).view(4, -1)
    worst = torch.zeros(pair[0].model.nq, dtype=torch.float64)
    for step in range(50):
        for physics in pair:
            physics.field("ctrl").copy_(home + 0.2 * torch.sin(0.2 * step + phase))
            physics.step(substeps)
        a, b = (physics.field("qpos").cpu().double() for physics in pair)
        worst = torch.maximum(worst, (a - b).abs().amax(0))
    limits = {"base_m": (worst[:3], 1e-3), "base_quaternion": (worst[3:7], 1e-3), "joints_rad": (worst[7:], 2e-3)}
    for name, (value, limit) in limits.items():
        if value.max() > limit:
            raise RuntimeError(f"{name} differs by {value.max():.2g}, more than {limit}")
    return {name: float(value.max()) for name, (value, _) in limits.items()}


def physics(args: argparse.Namespace) -> dict[str, Any]:
    """The engine alone, on the task's own model and per-world fields."""
    env = _env(args)
    env.reset(seed=0)
    engine, targets = env.physics, joint_targets(env, 16)
    turn = iter(range(10**9))

    def step() -> None:
        engine.field("ctrl").copy_(targets[next(turn) % 16])
        engine.step(env.substeps)

    results: dict[str, Any] = {"control_periods": rate(step, args.num_worlds, args.device, args)}
    results["substeps_per_second"] = results["control_periods"]["per_second"] * env.substeps
    few = torch.arange(0, args.num_worlds, 100, device=args.device)
    state = engine.field("qpos")[few].clone(), engine.field("qvel")[few].clone()
    for name, call in {
        "forward": engine.forward,
        "reset_of_one_percent": lambda: engine.reset(few, *state),
        "set_const_of_one_percent": lambda: engine.set_const(few),
    }.items():
        results[name] = {"milliseconds": 1e3 / rate(call, 1, args.device, args)["per_second"]}
    return results | _settings(env) | memory(args.device)


def environment(args: argparse.Namespace) -> dict[str, Any]:
    """Environment steps with random actions."""
    return _environment_rate(_env(args), args)


@torch.inference_mode()
def _environment_rate(env: Any, args: argparse.Namespace) -> dict[str, Any]:
    env.reset(seed=0)
    actions, turn = random_actions(env), iter(range(10**9))
    result = rate(lambda: env.step(actions[next(turn) % 16]), env.num_rows, args.device, args)
    result |= _settings(env) | memory(args.device) | {"failed_worlds": env.failures}
    env.close()
    return result


def training(args: argparse.Namespace) -> dict[str, Any]:
    """The whole learner, with the task's recipe."""
    config = configure([f"task={args.task}", f"num_worlds={args.num_worlds}", f"device={args.device}"])
    settings = plain(config)
    env = make_env(settings["task"], num_worlds=args.num_worlds, device=args.device, engine=args.engine)
    policy = policies.make(settings["policy"], env.spec)
    trainer = Trainer(env, policy, cast(TrainConfig, typed(RunConfig, config)))
    records = []
    with fast_matmul(args.device, trainer.config.matmul_precision):
        for _ in range(args.iterations + 2):  # the first two warm up
            records.append(trainer.iterate())
    timed = records[2:]
    names = ("steps_per_second", "collect_seconds", "update_seconds")
    result: dict[str, Any] = {name: statistics.median(record[name] for record in timed) for name in names}
    result |= {"env_steps": trainer.env_steps, "first": _floats(records[0]), "last": _floats(records[-1])}
    result["bar"] = {"value": BAR, "holds": result["steps_per_second"] >= BAR}
    return result | _settings(env) | memory(args.device)


def mjlab(args: argparse.Namespace) -> dict[str, Any]:
    """The peer, and our Go1 at its time step and at our own."""
    if importlib.util.find_spec("mjlab") is None:
        return {"skipped": "mjlab is not installed"}
    peer = _mjlab_rate(args)
    results: dict[str, Any] = {"mjlab": peer}
    for name, overrides in (("own_timestep", {}), ("its_timestep", {"physics_dt": peer["physics_dt"]})):
        args.task = "go1_velocity"
        results[name] = _environment_rate(_env(args, overrides=overrides), args)
        results[name]["ratio"] = results[name]["per_second"] / peer["per_second"]
    return results


def _mjlab_rate(args: argparse.Namespace) -> dict[str, Any]:
    import mjlab.tasks  # noqa: F401, registers its tasks
    from mjlab.envs import ManagerBasedRlEnv
    from mjlab.tasks.registry import load_env_cfg

    config = load_env_cfg(MJLAB_TASK)
    config.scene.num_envs = args.num_worlds
    env = ManagerBasedRlEnv(cfg=config, device=str(args.device))
    env.reset()
    shape = (args.num_worlds, env.action_manager.total_action_dim)
    action = 0.2 * torch.randn(shape, device=args.device)
    result = rate(lambda: env.step(action), args.num_worlds, args.device, args)
    result |= {"task": MJLAB_TASK, "control_dt": env.step_dt, "physics_dt": env.physics_dt}
    env.close()
    return result


SECTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "tests": tests,
    "parity": parity,
    "physics": physics,
    "environment": environment,
    "training": training,
    "mjlab": mjlab,
}


def _env(args: argparse.Namespace, overrides: dict[str, Any] | None = None, num_worlds: int = 0) -> Any:
    worlds = num_worlds or args.num_worlds
    return envs.make(args.task, num_worlds=worlds, device=args.device, engine=args.engine, overrides=overrides)


def _settings(env: Any) -> dict[str, Any]:
    spec = env.spec
    return {"task": spec.name, "worlds": env.num_rows, "control_dt": spec.control_dt, "physics_dt": spec.physics_dt}


def _floats(record: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in record.items() if isinstance(value, int | float)}


# The suite ---------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run all sections, or one in this process; 0 if none failed."""
    args = _arguments(argv)
    if args.section:
        print(MARK + json.dumps(SECTIONS[args.section](args)))
        return 0
    out = Path(args.out or ROOT / "results" / "gpu" / f"{_slug(args.device)}.json")
    results: dict[str, Any] = {"provenance": provenance.provenance(), "arguments": _plain(args), "sections": {}}
    for name in args.only or SECTIONS:
        results["sections"][name] = section = _run(name, args, list(argv if argv is not None else sys.argv[1:]))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: {section['status']} in {section['seconds']:.0f} s; {_headline(section)}", flush=True)
    print(f"written: {out}")
    return 0 if all(section["status"] == "ok" for section in results["sections"].values()) else 1


def _run(name: str, args: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """One section in a process of its own."""
    command = [sys.executable, "-m", "scripts.gpu_suite", *argv, "--section", name]
    begin = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=args.timeout, check=False)
        found = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
        if done.returncode == 0 and found:
            outcome: dict[str, Any] = {"status": "ok", "result": json.loads(found[-1][len(MARK) :])}
        else:
            outcome = {"status": "failed", "exit_status": done.returncode, "error": (done.stdout + done.stderr)[-4000:]}
    except subprocess.TimeoutExpired:
        outcome = {"status": "failed", "error": f"took longer than {args.timeout} s"}
    return outcome | {"seconds": time.perf_counter() - begin}


def _headline(section: dict[str, Any]) -> str:
    if section["status"] != "ok":
        return section["error"].strip().splitlines()[-1] if section["error"].strip() else "no output"
    return json.dumps(section["result"], default=str)[:300]


def _slug(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _plain(args: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, torch.device) else value for name, value in vars(args).items()}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--engine", default="warp", help="batch to measure the CPU engine instead")
    parser.add_argument("--task", default="go2_velocity")
    parser.add_argument("--num-worlds", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=50, help="control steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=20, help="control steps before the rounds")
    parser.add_argument("--iterations", type=int, default=20, help="of training, timed")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds a section may take, compiling included")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="these sections alone")
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it works")
    parser.add_argument("--out", help="result file")
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.quick:
        args.steps, args.rounds, args.warm_up, args.iterations = 2, 2, 3, 1
    if args.device.type == "cuda" and not torch.cuda.is_available() and not args.section:
        parser.error("no CUDA device; --device cpu checks the suite itself")
    return args


if __name__ == "__main__":
    sys.exit(main())
