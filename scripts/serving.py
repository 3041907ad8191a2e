"""A policy behind a websocket, as openpi's clients ask for it: metadata first, then observations and answers by turns.

Requests that arrive while the policy decides are answered together in its next batch, so that there is one at a time.
What a client got wrong it is told in a text, and the connection is closed; what went wrong here is logged here.

Legend: B requests of a batch; H action chunk; A action size.
"""

from __future__ import annotations

import asyncio
import hmac
import http
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies.wire import WireError, pack, unpack

HEALTH = "/healthz"
LOG = logging.getLogger("embodied.serve")


class BadRequest(ValueError):
    """An observation that the policy cannot be asked about; the message goes to the client."""


@dataclass(frozen=True)
class Entry:
    """What an observation holds under one key. shape: None for a text of at most ``length`` bytes.

    dtype: ``uint8`` is taken as it is; for ``float32`` any finite numbers will do.
    """

    shape: tuple[int, ...] | None
    dtype: str = "float32"
    length: int = 0

    def describe(self) -> dict[str, Any]:
        """For the metadata."""
        if self.shape is None:
            return {"dtype": "str", "bytes": self.length}
        return {"dtype": self.dtype, "shape": list(self.shape)}

    def checked(self, key: str, value: Any) -> Any:
        """The value, or :class:`BadRequest`."""
        if self.shape is None:
            if not isinstance(value, str) or len(value.encode()) > self.length or "\0" in value:
                raise BadRequest(f"{key} must be a text of at most {self.length} bytes")
            return value
        kinds = "u" if self.dtype == "uint8" else "fiu"
        fits = isinstance(value, np.ndarray) and value.shape == self.shape and value.dtype.kind in kinds
        if not fits or (self.dtype == "uint8" and value.dtype != np.uint8):
            found = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise BadRequest(f"{key} must be an array {self.shape} of {self.dtype}, got {found}")
        value = value.astype(self.dtype)
        if not np.isfinite(value).all():
            raise BadRequest(f"{key} is not finite")
        return value


@dataclass(frozen=True)
class Served:
    """A policy to be asked. inputs: what an observation holds.  metadata: what a client is told about it first.

    decide: observations, checked, -> actions (B, H, A) in the task's policy units.
    """

    inputs: dict[str, Entry]
    metadata: dict[str, Any]
    decide: Callable[[Sequence[dict[str, Any]]], np.ndarray]

    def checked(self, observation: Any) -> dict[str, Any]:
        """What the policy takes of an observation; keys that it does not know are left out.

        Raises:
            BadRequest: something is missing or of another form.
        """
        if not isinstance(observation, dict):
            raise BadRequest(f"an observation is a map, got {type(observation).__name__}")
        missing = [key for key in self.inputs if key not in observation]
        if missing:
            raise BadRequest(f"the observation lacks {', '.join(missing)}; it must hold {', '.join(self.inputs)}")
        return {key: entry.checked(key, observation[key]) for key, entry in self.inputs.items()}


@dataclass
class PolicyServer:
    """One policy, any number of clients. token: None lets everybody in.  max_bytes: of a request.

    max_batch: requests that are answered together.
    """

    served: Served
    token: str | None = None
    max_bytes: int = 16 * 2**20
    max_batch: int = 64
    _waiting: asyncio.Queue[tuple[dict[str, Any], asyncio.Future[np.ndarray]]] = field(default_factory=asyncio.Queue)

    async def run(self, host: str, port: int, ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve until cancelled. ready: told the port, of which 0 chooses a free one."""
        from websockets.asyncio.server import serve

        # A browser says where a page comes from, and no page has any business here: None is a client that says nothing.
        options: dict[str, Any] = {"compression": None, "max_size": self.max_bytes, "origins": [None]}
        async with serve(self._talk, host, port, process_request=self._admit, **options) as server:
            ready(next(iter(server.sockets)).getsockname()[1])
            await self._work()

    def _admit(self, connection: Any, request: Any) -> Any:
        """None lets a client in; otherwise what it is answered."""
        if request.path == HEALTH:
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self.token is None:
            return None
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Api-Key {self.token}".encode()):
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")

    async def _talk(self, socket: Any) -> None:
        """One client, until it leaves or makes a mistake."""
        from websockets.exceptions import ConnectionClosed

        before = None
        try:
            await socket.send(pack(self.served.metadata))
            async for message in socket:
                begin = time.monotonic()
                answer = await self._answer(message, before)
                await socket.send(pack(answer))
                before = time.monotonic() - begin
        except ConnectionClosed:
            return
        except (BadRequest, WireError) as error:
            await _refuse(socket, str(error), 1008)
        except Exception:
            LOG.exception("a request failed")
            await _refuse(socket, "the policy failed; the server's log says why", 1011)

    async def _answer(self, message: bytes | str, before: float | None) -> dict[str, Any]:
        if isinstance(message, str):
            raise BadRequest("a request is a binary message")
        begin, future = time.monotonic(), asyncio.get_running_loop().create_future()
        await self._waiting.put((self.served.checked(unpack(message)), future))
        actions = await future
        timing = {"infer_ms": 1e3 * (time.monotonic() - begin)}
        if before is not None:
            timing["prev_total_ms"] = 1e3 * before
        return {"actions": actions, "server_timing": timing}

    async def _work(self) -> None:
        """Answer what waits, a batch at a time."""
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self.max_batch and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                found = await asyncio.to_thread(self.served.decide, [observation for observation, _ in batch])
                for (_, future), actions in zip(batch, found, strict=True):
                    _settle(future, actions)
            except Exception as error:
                for _, future in batch:
                    _settle(future, error)


def _settle(future: asyncio.Future[np.ndarray], result: np.ndarray | Exception) -> None:
    """Nobody waits for it any more where the client has left."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


async def _refuse(socket: Any, reason: str, code: int) -> None:
    """As openpi's servers do: a text, which its clients raise as an error, and the end."""
    from websockets.exceptions import ConnectionClosed

    try:
        await socket.send(reason)
        await socket.close(code)
    except ConnectionClosed:
        return
