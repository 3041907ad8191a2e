"""ManiSkill's nested observations as groups, and the terms that they are made of.

``policy`` is all vectors of ``agent`` and ``extra``, in ManiSkill's own order (its observation mode ``state``). A task
may hand out groups itself: then ``extra`` has a key ``policy``, and each of its keys is a group.
Legend: n worlds; (h, w) pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from embodied.text import encode_text
from embodied.types import Obs, ObsGroup, ObsTerm

INSTRUCTION = 128
"""Bytes of an instruction, unless the task has an ``instruction_length`` of its own."""


def observe(raw: Mapping[str, Any], camera: str | None) -> Obs:
    """Groups of n worlds: vectors float32, ``image`` (n, h, w, 3) uint8 where the observation has a camera's."""
    obs = {name: _vector(part) for name, part in _parts(raw).items()}
    if raw.get("sensor_data"):  # {} where nobody looks
        obs["image"] = _picture(raw["sensor_data"], camera)
    return obs


def instructions(env: Any, worlds: int) -> Tensor | None:
    """(n, L) uint8: what the worlds are told; None where the task says nothing."""
    if not hasattr(env, "get_language_instruction"):
        return None
    said = env.get_language_instruction()
    texts = [said] * worlds if isinstance(said, str) else list(said)
    return encode_text(texts, getattr(env, "instruction_length", INSTRUCTION))


def obs_groups(raw: Mapping[str, Any], obs: Obs, joints: tuple[str, ...]) -> dict[str, ObsGroup]:
    """The description of groups, by example. joints: of the robot, in the order of ``qpos``."""
    described = {name: ObsGroup.of(*_terms(part, joints)) for name, part in _parts(raw).items()}
    for name in ("image", "instruction"):
        if name in obs:
            described[name] = ObsGroup(shape=tuple(obs[name].shape[1:]), dtype="uint8", normalize=False)
    return described


def _parts(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Group -> nested vectors."""
    extra = raw.get("extra", {})
    if "policy" in extra:
        return dict(extra)
    return {"policy": {"agent": raw.get("agent", {}), "extra": extra}}


def _leaves(part: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(path with underscores, (n, ...)) of every vector, in order."""
    if not isinstance(part, Mapping):
        yield name, part
        return
    for key, value in part.items():
        yield from _leaves(value, f"{name}_{key}" if name else str(key))


def _vector(part: Mapping[str, Any]) -> Tensor:
    return torch.cat([leaf.reshape(len(leaf), -1).float() for _, leaf in _leaves(part)], dim=-1)


def _terms(part: Mapping[str, Any], joints: tuple[str, ...]) -> list[ObsTerm]:
    return [_term(name, leaf[0].numel(), joints) for name, leaf in _leaves(part)]


def _term(name: str, size: int, joints: tuple[str, ...]) -> ObsTerm:
    of_joints = name in ("agent_qpos", "agent_qvel") and size == len(joints)
    return ObsTerm(name, size, names=joints if of_joints else ())


def _picture(sensors: Mapping[str, Any], camera: str | None) -> Tensor:
    return sensors[camera or next(iter(sensors))]["rgb"]
