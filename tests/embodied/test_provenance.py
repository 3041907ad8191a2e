"""Provenance says what it can find out and nothing else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch

from embodied import provenance


def test_it_names_versions_machine_seed_and_command(tmp_path: Path) -> None:
    provenance.write(tmp_path / "provenance.json", seed=4, command=["embodied", "train"])
    found = json.loads((tmp_path / "provenance.json").read_text())
    assert (found["seed"], found["command"]) == (4, ["embodied", "train"])
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["machine"]["cpus"] >= 1 and found["machine"]["torch_threads"] == torch.get_num_threads()


def test_commit_and_dirt_of_a_checkout(tmp_path: Path) -> None:
    assert provenance.commit(tmp_path) == {"hash": None, "dirty": None}
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    clean = provenance.commit(tmp_path)
    assert len(clean["hash"]) == 40 and clean["dirty"] is False
    (tmp_path / "new").write_text("x")
    assert provenance.commit(tmp_path) == clean | {"dirty": True}


def test_a_machine_without_git_is_no_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(tmp_path) == {"hash": None, "dirty": None}
