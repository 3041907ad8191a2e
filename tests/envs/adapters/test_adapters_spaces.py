"""Spaces from a TaskSpec."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embodied.types import ObsGroup
from envs.adapters.spaces import action_space, observation_space


def test_images_are_bytes(toy: Callable[..., Any]) -> None:
    spec = dataclasses.replace(toy.spec, obs={"image": ObsGroup(shape=(3, 8, 8), dtype="uint8")})  # type: ignore[attr-defined]
    space = observation_space(spec, "image")
    assert space.shape == (3, 8, 8) and space.dtype == np.uint8 and int(space.high.max()) == 255  # type: ignore[attr-defined]


def test_unbounded_actions_end_where_the_commands_do(toy: Callable[..., Any]) -> None:
    action = dataclasses.replace(
        toy.spec.action,  # type: ignore[attr-defined]
        low=None,
        high=None,
        offset=(1.0, 0.0),
        scale=(0.5, -2.0),
        command_low=(0.0, -4.0),
        command_high=(3.0, 2.0),
    )
    spec = dataclasses.replace(toy.spec, action=action)  # type: ignore[attr-defined]
    assert np.isinf(action_space(spec).high).all()
    space = action_space(spec, finite=True)
    assert space.low.tolist() == [-2.0, -1.0] and space.high.tolist() == [4.0, 2.0]
    endless = dataclasses.replace(spec, action=dataclasses.replace(action, command_low=(), command_high=()))
    with pytest.raises(ValueError, match="unbounded"):
        action_space(endless, finite=True)


def test_chunks(toy: Callable[..., Any]) -> None:
    spec = dataclasses.replace(toy.spec, action=dataclasses.replace(toy.spec.action, chunk=4))  # type: ignore[attr-defined]
    assert action_space(spec).shape == (4, 2)
