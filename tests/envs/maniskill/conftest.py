"""ManiSkill where it is installed and has a Vulkan driver; else these tests are skipped, with the reason."""

from __future__ import annotations

import functools
from typing import Any

import pytest

CONFIG: dict[str, Any] = {"name": "maniskill", "kind": "maniskill", "id": "PushCube-v1"}


@functools.cache
def unavailable() -> str:
    """Why ManiSkill cannot be used here; empty if it can."""
    pytest.importorskip("mani_skill", reason="needs the extra maniskill")
    from envs.maniskill import make

    try:
        make(CONFIG, num_worlds=1, num_threads=1).close()
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture
def maniskill() -> dict[str, Any]:
    """A configuration that works on this machine."""
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    return dict(CONFIG)
