"""A policy server as an agent: what `embodied serve` says of itself is enough to evaluate it, another one needs a task.

A source is ``ws://host:port``, with what has to be said of a server in its query: ``?task=put_on_plate&chunk=4`` and
``history=``, ``image_size=`` say what a server acts in that does not; ``state=``, ``image=``, ``instruction=``,
``timeout=`` and ``retries=`` are those of :class:`policies.remote.RemoteConfig`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import torch

import envs
from embodied.configuration import choice
from embodied.types import TaskSpec
from policies.remote import SCHEMES, Connection, RemoteConfig, RemoteError, RemotePolicy
from policies.wire import pack

from .common import Agent, make_env, user_errors
from .config import UserError
from .starting import DECISION_KEYS

_CONVERT: dict[str, Any] = {"timeout": float, "retries": int, **dict.fromkeys(DECISION_KEYS, int)}


def is_remote(source: str) -> bool:
    """It is the address of a server."""
    return str(source).startswith(SCHEMES)


def parse_source(source: str) -> tuple[RemoteConfig, dict[str, Any]]:
    """How to reach and ask a server, and what is said of its task: its name under ``task``, and DECISION_KEYS.

    Raises:
        UserError: an unknown option, or one that is no number; the message names it.
    """
    parts, task = urlsplit(source), dict[str, Any]()
    known: dict[str, Any] = {"uri": urlunsplit(parts._replace(query=""))}
    names = [field.name for field in fields(RemoteConfig) if field.name != "uri"]
    with user_errors():
        for key, value in parse_qsl(parts.query, keep_blank_values=True):
            choice(f"option of {known['uri']}", key, ("task", *DECISION_KEYS, *names))
            (known if key in names else task)[key] = _CONVERT.get(key, str)(value)
        return RemoteConfig(**known), task


def remote_agent(source: str) -> Agent:
    """The agent behind an address.

    Raises:
        UserError: nobody is there, or neither it nor its address says what it acts in.
    """
    config, said = parse_source(source)
    told = _metadata(config)
    if told.get("server") == "embodied" and told.get("spec") and told.get("task_config"):
        spec, task = TaskSpec.from_dict(told["spec"]), told["task_config"]
    elif "task" in said:
        with user_errors():
            task = {**envs.load_task_config(said.pop("task")), **said}
        spec = _spec_of(task)
    else:
        raise UserError(f"{config.uri} does not say which task it acts in; its address may: {config.uri}?task=NAME")
    policy = {"kind": "remote", "uri": config.uri}
    return Agent(RemotePolicy(spec, config), None, spec, {"task": task, "policy": policy})


def digest(source: str) -> str:
    """Of all that a server says about itself; one of `embodied serve` names its weights there."""
    return hashlib.sha256(pack(_metadata(parse_source(source)[0]))).hexdigest()[:16]


def _metadata(config: RemoteConfig) -> dict[str, Any]:
    connection = Connection(config)
    try:
        return connection.metadata
    except RemoteError as error:
        raise UserError(str(error)) from error
    finally:
        connection.close()


def _spec_of(task: Mapping[str, Any]) -> TaskSpec:
    env = make_env(task, num_worlds=1, device=torch.device("cpu"), num_threads=1)
    env.close()
    return env.spec
