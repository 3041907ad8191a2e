from __future__ import annotations

from pathlib import Path

import pytest

from . import published

for module in ("transformers", "peft", "tokenizers"):
    pytest.importorskip(module, reason="needs the extra `vla`")


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests know the tiny sizes."""
    published.known_sizes(monkeypatch)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in lerobot's layout; nobody writes there."""
    return published.checkpoint(tmp_path_factory.mktemp("pi0"))
