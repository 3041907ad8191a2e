from __future__ import annotations

from pathlib import Path

import pytest

from . import published

for module in ("transformers", "peft", "tokenizers"):
    pytest.importorskip(module, reason="needs the extra `vla`")


@pytest.fixture(autouse=True)
def towers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests know the tiny towers."""
    published.known_towers(monkeypatch)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in the published layout; nobody writes there."""
    return published.checkpoint(tmp_path_factory.mktemp("openvla"))
