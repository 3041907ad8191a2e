"""Every test starts from the same random state and leaves torch's global settings as they were."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def _choose_gl() -> None:
    """MuJoCo reads MUJOCO_GL when it is first imported, which importing ``envs`` does; so load that one file alone."""
    path = Path(__file__).parent.parent / "envs" / "graphics.py"
    spec = importlib.util.spec_from_file_location("_graphics", path)
    assert spec is not None and spec.loader is not None
    graphics = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(graphics)
    with contextlib.suppress(graphics.NoGraphicsError):
        graphics.choose_gl()


_choose_gl()


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    torch.manual_seed(0)
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)
