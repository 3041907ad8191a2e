"""Every command of the tutorial runs as it stands, in its order; only made small by what SHRINK appends to it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scripts.cli import main
from scripts.overrides import ROOT

for package in ("pyarrow", "stable_baselines3"):
    pytest.importorskip(package)

PAGE = ROOT / "docs" / "fine_tune_a_diffusion_policy.md"
NETS = ("policy.mlp.hidden=[8]", "policy.critic_hidden=[8]")
ONE_THREAD = "num_threads=1"
PPO = ("num_worlds=2", "algo.num_steps=2", "algo.num_epochs=1", "algo.num_minibatches=1", ONE_THREAD)
SAC = ("num_worlds=2", "algo.num_steps=4", "algo.learning_starts=8", "algo.gradient_steps=1", ONE_THREAD)
SHRINK = {
    "demos": ("episodes=2", "task.horizon=30", ONE_THREAD),
    "pretrain": ("steps=3", *NETS, ONE_THREAD),
    "train": ("total_steps=16", *PPO),
    "train resume": ("total_steps=32", ONE_THREAD),
    "steer": ("total_steps=64", "policy.hidden=[8]", "algo.batch_size=8", *SAC),
    "steer resume": ("total_steps=96", ONE_THREAD),
    "evaluate": ("episodes=1", "task.horizon=8", ONE_THREAD),
    "play": ("viewer=none", "seconds=0.2"),
    "report": (),
}
"""What is appended to a command, by its name and whether it resumes a run."""


def commands(text: str) -> list[list[str]]:
    """The arguments of every command in the page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def shrunk(command: list[str]) -> list[str]:
    """The command without its program, with what makes it small."""
    program, name, *rest = command
    assert program == "embodied"
    resumes = any(argument.startswith("resume=") for argument in rest)
    return [name, *rest, *SHRINK[f"{name} resume" if resumes else name]]


def test_the_page_is_read_as_a_reader_would() -> None:
    page = "text\n```sh\nembodied a b=1  # why\n\nembodied c 'd=[1, 2]'\n```\n```python\nembodied x\n```\n"
    assert commands(page) == [["embodied", "a", "b=1"], ["embodied", "c", "d=[1, 2]"]]


def test_every_command_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = commands(PAGE.read_text(encoding="utf-8"))
    assert {name for _, name, *_ in found} >= {"demos", "pretrain", "train", "steer", "evaluate"}
    for command in found:
        assert main(shrunk(command)) == 0, " ".join(shrunk(command))


def test_every_setting_that_the_page_names_is_there() -> None:
    """Keys in backquotes, such as `algo.gamma`, by the help of the commands that have them."""
    from policies.generative.ncdpo import NCDPOConfig
    from policies.generative.reinflow import ReinFlowConfig
    from policies.steering.dsrl import DSRLConfig
    from policies.steering.expo import EXPOConfig
    from scripts.help import settings
    from scripts.steer import SteerConfig
    from scripts.train import RunConfig

    known = {
        key for schema, name in ((RunConfig, "train"), (SteerConfig, "steer")) for key, *_ in settings(schema, name)
    }
    schemas = NCDPOConfig, ReinFlowConfig, DSRLConfig, EXPOConfig
    known |= {f"policy.{name}" for schema in schemas for name in schema.__dataclass_fields__}
    named = set(re.findall(r"`((?:algo|policy)\.[a-z_]+)`", PAGE.read_text(encoding="utf-8")))
    assert named - known == set() and len(named) > 5
