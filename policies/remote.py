"""A policy that lives behind a websocket: any server of openpi's protocol, which `embodied serve` speaks, too.

One observation goes out for each row and a chunk of actions comes back, in the task's own units; the server is told
neither of episodes nor of likelihoods, so that such a policy can be evaluated and not trained. The protocol is that of
openpi-client 0.1 (``WebsocketClientPolicy``): the server's metadata first, then request and answer by turns; a text in
place of an answer is an error. A token goes in the header ``Authorization: Api-Key <token>``.

Legend: B rows; H action chunk; A action size; n size of an observation; h, w pixels.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embodied.configuration import positive, whole
from embodied.text import decode_text
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from .wire import pack, unpack

TOKEN = "EMBODIED_TOKEN"
"""The environment variable of the token, which must not be written down with a run's configuration."""
SCHEMES = ("ws://", "wss://")
BACKOFF_S = 0.5
MAX_ANSWER = 16 * 2**20  # bytes
REFUSED = (1003, 1007, 1008, 1009)
"""Codes that close a connection over what was asked (RFC 6455, sec. 7.4.1): asking again would not help."""


class RemoteError(RuntimeError):
    """The server refuses, answers nonsense, or is gone."""


@dataclass(frozen=True)
class RemoteConfig:
    """uri: ws://host:port or wss://host:port.

    state, image, instruction: the keys that the server expects measurements (n,), the picture (h, w, 3) and the text
        under; empty: it is not sent.
    timeout: seconds that an answer may take.
    retries: attempts to reach a server that has gone away, the first after 0.5 s, each after twice the time.
    """

    uri: str = ""
    state: str = "observation/state"
    image: str = "observation/image"
    instruction: str = "prompt"
    timeout: float = 60.0
    retries: int = 5

    def __post_init__(self) -> None:
        if not self.uri.startswith(SCHEMES):
            raise ValueError(f"policy.uri={self.uri!r}: must begin with {' or '.join(SCHEMES)}")
        positive("policy.timeout", self.timeout)
        whole("policy.retries", self.retries, 0)


class Connection:
    """A connection that comes back: opened when it is first needed, and again after the server has gone away."""

    def __init__(self, config: RemoteConfig) -> None:
        self.config = config
        self._socket: Any = None
        self._metadata: dict[str, Any] | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the server says about itself."""
        if self._metadata is None:
            self._retry(self._open)
        assert self._metadata is not None
        return self._metadata

    def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The answer to one observation; asked again where the server went away before it came.

        Raises:
            RemoteError: the server refused it or cannot be reached.
        """
        data = pack(observation)
        answer = self._retry(lambda: self._ask(data))
        if isinstance(answer, str):
            raise RemoteError(f"the policy server at {self.config.uri} says: {answer.strip()}")
        return unpack(answer)

    def close(self) -> None:
        """Hang up; the next request connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, data: bytes) -> bytes | str:
        if self._socket is None:
            self._open()
        self._socket.send(data)
        return self._socket.recv(timeout=self.config.timeout)

    def _open(self) -> None:
        from websockets.sync.client import connect

        token = os.environ.get(TOKEN)
        headers = {"Authorization": f"Api-Key {token}"} if token else None
        wait = self.config.timeout
        self._socket = connect(
            self.config.uri, compression=None, max_size=MAX_ANSWER, additional_headers=headers, open_timeout=wait
        )
        found = unpack(self._socket.recv(timeout=wait))
        if self._metadata is not None and found != self._metadata:
            raise RemoteError(f"another policy answers at {self.config.uri} since it came back")
        self._metadata = found

    def _retry(self, attempt: Any) -> Any:
        try:
            from websockets.exceptions import ConnectionClosed, InvalidHandshake
        except ImportError as error:
            raise ImportError("policy servers need the extra `serve`: pip install -e '.[serve]'") from error
        for retry in range(self.config.retries + 1):
            try:
                return attempt()
            except InvalidHandshake as error:  # it is there and does not want us
                raise RemoteError(f"{self.config.uri} refuses the connection: {error}{_hint(error)}") from error
            except (ConnectionClosed, OSError) as error:  # TimeoutError is an OSError
                self.close()
                if getattr(getattr(error, "rcvd", None), "code", None) in REFUSED:
                    raise RemoteError(f"the policy server at {self.config.uri} refuses: {error}") from error
                if retry == self.config.retries:
                    raise RemoteError(f"no policy server at {self.config.uri}: {error}") from error
                time.sleep(BACKOFF_S * 2**retry)
        raise AssertionError("unreachable")


def _hint(error: Exception) -> str:
    refused = getattr(getattr(error, "response", None), "status_code", None) == 401
    return f"; its token belongs into the environment variable {TOKEN}" if refused else ""


class RemotePolicy(nn.Module):
    """Decides by asking; deterministic or not is the server's affair. It has no weights, likelihood or memory."""

    recurrent = False
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: RemoteConfig) -> None:
        super().__init__()
        self.config = config
        self.chunk = (spec.action.chunk, spec.action.size)
        self.connection = Connection(config)
        self.register_buffer("factor_weight", torch.ones(1), persistent=False)
        self.register_buffer("factor_clip", torch.ones(1), persistent=False)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Empty: no memory."""
        return {}

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """The first H actions (B, H, A) of what the server answers; likelihood and value are unknown, hence 0."""
        actions = np.stack([self._chunk(self.connection.infer(row)) for row in rows_of(obs, self.config)])
        zero = self.factor_weight.new_zeros(len(actions))
        return Decision(torch.from_numpy(actions).to(zero), zero[:, None], zero)

    def _chunk(self, answer: Any) -> np.ndarray:
        """(H, A) of an answer whose ``actions`` are (H or more, A)."""
        found = answer.get("actions") if isinstance(answer, dict) else None
        shape = getattr(found, "shape", None)
        if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) < self.chunk[0]:
            raise RemoteError(f"the server's actions have shape {shape}; this task executes {self.chunk}")
        if found.shape[1] != self.chunk[1]:
            raise RemoteError(f"the server's actions have {found.shape[1]} elements, the task's {self.chunk[1]}")
        if not np.isfinite(found).all():
            raise RemoteError("the server's actions are not finite")
        return found[: self.chunk[0]].astype(np.float32)

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,) zeros: it is unknown."""
        return self.factor_weight.new_zeros(len(next(iter(obs.values()))))

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Raises ValueError: there is no likelihood."""
        raise _untrainable()

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Raises ValueError: there is nothing to learn."""
        raise _untrainable()

    def actor_parameters(self) -> Any:
        """Raises ValueError: there are none, which a learner finds out here, before its first rollout."""
        raise _untrainable()

    critic_parameters = actor_parameters


def _untrainable() -> ValueError:
    return ValueError("policy.kind=remote has neither weights here nor a likelihood: it can be evaluated, not trained")


def rows_of(obs: Obs, config: RemoteConfig) -> list[dict[str, Any]]:
    """Each row of a batch as the server wants it: measurements float32, the picture's bytes, the instruction's text."""
    columns: dict[str, Any] = {}
    if config.state and "policy" in obs:
        columns[config.state] = obs["policy"].float().cpu().numpy()
    if config.image and "image" in obs:
        columns[config.image] = obs["image"].cpu().numpy()
    if config.instruction and "instruction" in obs:
        columns[config.instruction] = decode_text(obs["instruction"])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
