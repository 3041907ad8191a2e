"""Write a trained policy as an ONNX bundle for a robot, and verify it.

embodied export checkpoint=go2_velocity out=bundles/go2
embodied export checkpoint=RUN
embodied export checkpoint=RUN out=BUNDLE force=true

Chunks of actions, observation histories and drawn noise go into the bundle as the task and the policy have them. A
policy that draws noise takes it as an input; the manifest says with which deviation, as `policy.inference_noise` does
for evaluation: 0, or 1 for a policy trained with inference_noise=random. Of a policy that sees and is told, the bundle
takes a picture of bytes and an instruction's words; the manifest holds its tokenizer.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import MISSING

from embodied import checkpoint as checkpoints
from embodied.provenance import provenance
from embodied.types import Obs

from .agents import load_agent
from .common import Agent, make_env, resolve_checkpoint, run_folder, user_errors
from .config import UserError, compose, typed

if TYPE_CHECKING:
    from sim2real.contract import Contract
    from sim2real.manifest import Manifest
    from sim2real.recording import Recording

WORLDS = 16
"""Simulations that the comparison's observations come from: 4096 of them are 256 steps of each."""


@dataclass(frozen=True)
class ExportConfig:
    """The settings of an export.

    checkpoint: what to export: a run folder, a checkpoint folder, a file in one, or the name of a shipped checkpoint.
    out: the bundle's folder; null: bundle in the run folder, or bundles/<name> for a shipped checkpoint.
    force: replace a bundle that is there.
    observations: of real rollouts, over which torch and onnxruntime are compared, a decision each.
    seed: of these rollouts.
    """

    checkpoint: str = MISSING
    out: str | None = None
    force: bool = False
    observations: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if self.observations < WORLDS:
            raise ValueError(f"observations={self.observations}: at least {WORLDS} are needed")


SCHEMA = ExportConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; the last line of stdout is a JSON object."""
    need_extra("onnx", "onnxscript", "onnxruntime")
    from sim2real.export import ExportError, check_target, export_policy

    config: ExportConfig = typed(ExportConfig, compose(ExportConfig, "export", argv))
    out = Path(config.out) if config.out else default_target(config.checkpoint)
    agent = load_agent(config.checkpoint)
    try:
        check_target(out, config.force)
        recording = rollouts(agent, config.observations, config.seed)
        normalizer = agent.normalizer or untouched
        made = origin(config, agent, argv)
        manifest = export_policy(
            agent.policy, normalizer, agent.spec, out, recording, provenance=made, force=config.force
        )
    except (ExportError, FileExistsError, ValueError) as error:
        raise UserError(str(error)) from error
    describe(manifest, out)
    print(json.dumps(summary(manifest, out)))
    return 0


def need_extra(*modules: str) -> None:
    """A user's error where packages of the extra ``export`` are missing."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"this needs the extra `export` ({', '.join(missing)} missing): pip install -e '.[export]'")


def default_target(checkpoint: str) -> Path:
    """``bundle`` in a run's folder; ``bundles/<name>`` where the checkpoint belongs to no run."""
    found = resolve_checkpoint(checkpoint)
    run = run_folder(found)
    return run / "bundle" if run is not None else Path("bundles") / found.name


def untouched(obs: Obs) -> Obs:
    """The normaliser of a policy that was trained without one."""
    return obs


def rollouts(agent: Agent, observations: int, seed: int) -> Recording:
    """Observations of the policy in its own task, drawn actions included."""
    from sim2real.rollout import record

    task = agent.config["task"]
    env = make_env(task, num_worlds=WORLDS, device=torch.device("cpu"), engine="batch", num_threads=1, seed=seed)
    try:
        with user_errors(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return record(env, agent.policy, agent.normalizer or untouched, -(-observations // WORLDS), seed)
    finally:
        env.close()


def origin(config: ExportConfig, agent: Agent, argv: Sequence[str]) -> dict[str, Any]:
    """Where the bundle comes from, as plain JSON types; no path of this machine in it."""
    found = checkpoints.load(resolve_checkpoint(config.checkpoint))
    policy = {"kind": agent.config["policy"].get("kind"), "seed": agent.config.get("seed")}
    trained = {"task": agent.spec.name, "checkpoint": found.path.name, "env_steps": found.env_steps, **policy}
    made = provenance(config.seed, ["embodied", "export"])
    return {"trained": trained, "exported": {key: made[key] for key in ("time", "commit", "python", "versions")}}


def summary(manifest: Manifest, out: Path) -> dict[str, Any]:
    """The result as plain JSON types."""
    parity = manifest.parity
    return {
        "bundle": str(out),
        "task": manifest.contract.task.name,
        "files": {name: info.bytes for name, info in manifest.files.items()},
        "parity": {"observations": parity.observations, "max_abs_command": parity.max_abs_command},
        "sha256": manifest.sha256,
    }


def describe(manifest: Manifest, out: Path) -> None:
    """What was written, for the user, beside the result on stdout."""
    contract, parity = manifest.contract, manifest.parity
    total = sum(info.bytes for info in manifest.files.values())
    period = f"every {1e3 * contract.task.control_dt:g} ms"
    lines = [
        f"wrote {out} ({total / 1e3:.0f} kB): {', '.join(manifest.files)}, manifest.json",
        f"  in:  {contract.obs_size} values, {', '.join(term.name for term in contract.observation)}{extras(contract)}",
        f"  out: {len(contract.action.names)} x {contract.action.kind} [{contract.action.unit}] {period}",
        f"  largest difference to torch: {parity.max_abs_command:.1e} over {parity.observations} observations",
        f"check it anywhere with: embodied verify bundle={out}",
    ]
    if contract.decision.chunk > 1:
        lines[2] += f", decided {contract.decision.execute} at once, every {1e3 * contract.decision.period:g} ms"
    print("\n".join(lines), file=sys.stderr, flush=True)


def extras(contract: Contract) -> str:
    """What the network takes beside one observation, in words."""
    model, found = contract.model, []
    if contract.image is not None:
        found.append(f"an image {'x'.join(map(str, contract.image.shape))}")
    if contract.instruction is not None:
        found.append(f"an instruction of up to {contract.instruction.max_words} words")
    if contract.decision.history > 1:
        found.append(f"the last {contract.decision.history} times")
    if model.noise is not None:
        found.append(f"noise {'x'.join(map(str, model.noise.shape))} of deviation {model.noise.scale:g}")
    if model.memory:
        found.append(f"memory {', '.join(state.input for state in model.memory)}")
    return "".join(f"; {item}" for item in found)
