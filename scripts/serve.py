"""Serve a policy to other programs and machines, by openpi's websocket protocol.

embodied serve checkpoint=RUN
embodied serve bundle=BUNDLE port=8000
EMBODIED_TOKEN=... embodied serve checkpoint=RUN host=0.0.0.0

Any openpi client can ask it; here, `policy.kind=remote policy.uri=ws://HOST:PORT` does. docs/policy_server.md has the
messages. Without a token it listens to this machine alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import ipaddress
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodied.checkpoint import MODEL
from embodied.text import encode_text
from embodied.types import Obs
from policies.remote import TOKEN, RemoteConfig

from .agents import load_agent
from .common import Agent, pick_device, resolve_checkpoint, user_errors
from .config import UserError, compose, typed
from .serving import Entry, PolicyServer, Served

KEYS = {"policy": RemoteConfig.state, "image": RemoteConfig.image, "instruction": RemoteConfig.instruction}
"""Observation group -> the key that a client sends it under, openpi's usual ones."""


@dataclass(frozen=True)
class ServeConfig:
    """The settings of a server.

    checkpoint: what to serve: a run folder, a checkpoint folder, or the name of a shipped checkpoint; or
    bundle: the folder that `embodied export` wrote, which is run by onnxruntime.
    host: where it listens; 127.0.0.1 is this machine alone. Elsewhere it wants a token in EMBODIED_TOKEN.
    port: 0 takes a free one.
    max_mb: of a request, in MiB.  max_batch: requests that are answered together.
    device: of a checkpoint's policy: auto, cpu, cuda or cuda:<number>.
    """

    checkpoint: str | None = None
    bundle: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    max_mb: int = 16
    max_batch: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.bundle is None):
            raise ValueError("one of checkpoint=RUN and bundle=BUNDLE says what to serve")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port={self.port}: must be from 0 to 65535")
        for name in ("max_mb", "max_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")


SCHEMA = ServeConfig


def main(argv: Sequence[str]) -> int:
    """Run the command until it is interrupted."""
    config: ServeConfig = typed(ServeConfig, compose(ServeConfig, "serve", argv))
    server = make_server(config, os.environ.get(TOKEN) or None)
    try:
        asyncio.run(server.run(config.host, config.port, lambda port: announce(server, config.host, port)))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    return 0


def make_server(config: ServeConfig, token: str | None) -> PolicyServer:
    """The server of a checkpoint or a bundle.

    Raises:
        UserError: there is no such policy, it cannot be served, or everybody could reach it.
    """
    missing = [name for name in ("msgspec", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"this needs the extra `serve` ({', '.join(missing)} missing): pip install -e '.[serve]'")
    if token is None and not is_loopback(config.host):
        raise UserError(f"host={config.host}: whoever reaches this machine could use the policy; set {TOKEN} first")
    if config.bundle is not None:
        served = of_bundle(Path(config.bundle))
    else:
        assert config.checkpoint is not None
        found = resolve_checkpoint(config.checkpoint)
        weights = hashlib.sha256((found / MODEL).read_bytes()).hexdigest()
        served = of_agent(load_agent(found, pick_device(config.device)), weights)
    return PolicyServer(served, token, config.max_mb * 2**20, config.max_batch)


def is_loopback(host: str) -> bool:
    """This machine alone can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announce(server: PolicyServer, host: str, port: int) -> None:
    """Where it is and what it wants, for people."""
    lines = [f"serving {server.served.metadata['task']} at ws://{host}:{port}; ctrl-c stops it"]
    lines += [f"  {key}: {entry.describe()}" for key, entry in server.served.inputs.items()]
    lines.append(f"  token: {'the one in ' + TOKEN if server.token else 'none'}")
    print("\n".join(lines), flush=True)


def of_agent(agent: Agent, digest: str) -> Served:
    """A checkpoint's policy, which takes its most likely action. digest: of its weights, for the metadata."""
    spec, policy = agent.spec, agent.policy
    if policy.initial_memory(1):
        raise UserError("this policy has a memory, and the protocol knows no episodes: export it and run the bundle")
    inputs = {}
    for name, key in KEYS.items():
        if name in spec.obs:
            group = spec.obs[name]
            told = name == "instruction"
            inputs[key] = Entry(None, "str", group.shape[0]) if told else Entry(group.shape, group.dtype)
    device = policy.factor_weight.device

    @torch.no_grad()
    def decide(rows: Sequence[dict[str, Any]]) -> np.ndarray:
        obs: Obs = {}
        for name, key in KEYS.items():
            if key in inputs:
                column = [row[key] for row in rows]
                told = name == "instruction"
                x = encode_text(column, inputs[key].length) if told else torch.from_numpy(np.stack(column))
                obs[name] = x.to(device)
        return policy.act(agent.see(obs), {}, deterministic=True).action.float().cpu().numpy()

    about = _about(spec.name, spec.action.chunk, spec.action.names, digest)
    return Served(inputs, _metadata(about, inputs, spec.to_dict(), agent.config.get("task")), decide)


def of_bundle(folder: Path) -> Served:
    """A bundle's network, run by onnxruntime on one thread."""
    from sim2real import manifest as m
    from sim2real.inference import OnnxPolicy

    with user_errors():
        manifest = m.Manifest.read(folder)
        m.check_seal(manifest)
        m.check_files(manifest, folder)
        contract = manifest.contract
        network = OnnxPolicy(folder / contract.model.file, contract)
        network.check_signature()
    if contract.model.memory:
        raise UserError("this policy has a memory, and the protocol knows no episodes: run it by sim2real/runtime.py")
    history, size = contract.obs_shape
    inputs = {KEYS["policy"]: Entry((history, size) if history > 1 else (size,))}
    if contract.image is not None:
        inputs[KEYS["image"]] = Entry(contract.image.shape, "uint8")
    if contract.instruction is not None:
        inputs[KEYS["instruction"]] = Entry(None, "str", contract.instruction.length)
    generator = np.random.default_rng(0)

    def decide(rows: Sequence[dict[str, Any]]) -> np.ndarray:
        obs = np.stack([row[KEYS["policy"]] for row in rows]).reshape(len(rows), history, size)
        image = np.stack([row[KEYS["image"]] for row in rows]) if contract.image is not None else None
        words = None
        if (told := contract.instruction) is not None:
            words = network.words(encode_text([row[KEYS["instruction"]] for row in rows], told.length).numpy())
        return network(obs, {}, network.draw_noise(len(rows), generator), image, words)[1]

    about = _about(contract.task.name, contract.decision.execute, contract.action.names, manifest.sha256)
    return Served(inputs, _metadata(about, inputs, None, None), decide)


def _about(task: str, chunk: int, names: Sequence[str], digest: str) -> dict[str, Any]:
    return {"server": "embodied", "task": task, "chunk": chunk, "action_names": list(names), "digest": digest}


def _metadata(about: dict[str, Any], inputs: dict[str, Entry], spec: Any, task: Any) -> dict[str, Any]:
    """What a client is told first. spec, task: all about the task, for our own client; None where it is not known."""
    wanted = {key: entry.describe() for key, entry in inputs.items()}
    return {**about, "observation": wanted, "spec": spec, "task_config": task}
