"""Who plays in `embodied bench vla`: a source on the command line becomes something that decides.

A further kind is one function in PLAYERS and one line in :func:`kind_of`.
Legend: B rows; L observations of a history; n size of one; H action chunk; A action size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import envs
from embodied.checkpoint import MODEL
from embodied.types import Decision, Obs, Policy, TaskSpec

from ..agents import load_agent, read_config
from ..common import resolve_checkpoint, user_errors
from ..config import UserError
from ..remote import digest as remote_digest
from ..remote import is_remote, remote_agent

TASK = "put_on_plate"
TABLETOP = "tabletop"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Player:
    """policy: decides; of a bundle it has no likelihood.  see: from raw observations what the policy sees, or None.

    task: the task's configuration, with the chunk, the history and the camera that the policy goes with.
    spec: what it was made for; None where that is not known.
    """

    policy: Policy
    see: Callable[[Obs], Obs] | None
    task: dict[str, Any]
    spec: TaskSpec | None

    @torch.no_grad()
    def decide(self, obs: Obs) -> Tensor:
        """The most likely action (B, H, A) at the start of an episode."""
        rows = len(next(iter(obs.values())))
        seen = obs if self.see is None else self.see(obs)
        return self.policy.act(seen, self.policy.initial_memory(rows), deterministic=True).action


def make_player(source: str) -> Player:
    """The player that a run folder, a checkpoint, a shipped name, a bundle or the address of a policy server means.

    Raises:
        UserError: there is none, or it was made for another kind of task.
    """
    return PLAYERS[kind_of(source)](source)


def kind_of(source: str) -> str:
    """Which of PLAYERS a source is."""
    if is_remote(source):
        return "remote"
    return "bundle" if (Path(source) / MANIFEST).is_file() else "checkpoint"


def fixed(source: str) -> tuple[str, str]:
    """The folder that a source means now (of a run, its newest checkpoint), and a digest of its weights.

    Raises:
        UserError: there is none, or it was trained on another kind of task.
    """
    if kind_of(source) == "remote":
        return source, remote_digest(source)
    if kind_of(source) == "bundle":
        folder = Path(source).resolve()
        return str(folder), _digest(folder / MANIFEST)
    folder = resolve_checkpoint(source).resolve()
    check_task(source, read_config(folder)["task"])
    return str(folder), _digest(folder / MODEL)


def check_task(source: str, task: Mapping[str, Any]) -> None:
    """Raise UserError unless the task is the one of the benchmark."""
    if task.get("kind") != TABLETOP:
        raise UserError(f"policies: {source} was trained on {task.get('name')}; this benchmark is on {TASK}")


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _checkpoint(source: str) -> Player:
    agent = load_agent(source)
    task = dict(agent.config["task"])
    check_task(source, task)
    return Player(agent.policy, agent.see, task, agent.spec)


def _bundle(source: str) -> Player:
    from sim2real.inference import OnnxPolicy
    from sim2real.manifest import Manifest

    with user_errors():
        contract = Manifest.read(Path(source)).contract
        if contract.task.name != TASK:
            raise UserError(f"policies: {source} was made for {contract.task.name}; this benchmark is on {TASK}")
        network = OnnxPolicy(Path(source) / contract.model.file, contract)
        network.check_signature()
    chunk, history = contract.decision.chunk, contract.decision.history
    size = 0 if contract.image is None else contract.image.shape[0]
    task = envs.load_task_config(TASK) | {"chunk": chunk, "history": history, "image_size": size}
    return Player(BundlePolicy(network), None, task, None)  # type: ignore[arg-type]


def _remote(source: str) -> Player:
    agent = remote_agent(source)
    check_task(source, agent.config["task"])
    return Player(agent.policy, None, agent.config["task"], agent.spec)


PLAYERS: Mapping[str, Callable[[str], Player]] = {"checkpoint": _checkpoint, "bundle": _bundle, "remote": _remote}


class BundlePolicy:
    """A bundle's network as a policy that decides and does nothing else, from what its contract says it takes.

    network: a :class:`sim2real.inference.OnnxPolicy`, whose noise, if it takes any, is drawn from the seed 0.
    """

    recurrent = False

    def __init__(self, network: Any) -> None:
        import numpy as np

        self.network, self._generator = network, np.random.default_rng(0)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """See :class:`embodied.types.Policy`."""
        return {name: torch.from_numpy(x) for name, x in self.network.initial_memory(rows).items()}

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = True) -> Decision:
        """The network's action (B, H, A); likelihood and value, which it does not know, are 0."""
        rows = len(obs["policy"])
        measured = obs["policy"].reshape(rows, *self.network.contract.obs_shape).float().contiguous()
        held = {name: x.contiguous().numpy() for name, x in (memory or {}).items()}
        noise, contract = self.network.draw_noise(rows, self._generator), self.network.contract
        image = None if contract.image is None else obs["image"].contiguous().numpy()
        words = None if contract.instruction is None else self.network.words(obs["instruction"].numpy())
        _, action, after = self.network(measured.numpy(), held, noise, image, words)
        left = {name: torch.from_numpy(x) for name, x in after.items()}
        return Decision(torch.from_numpy(action), torch.zeros(rows, 1), torch.zeros(rows), memory=left)
