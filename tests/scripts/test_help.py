from __future__ import annotations

import importlib
from dataclasses import dataclass, field

import pytest

from embodied.ppo import PPOConfig
from scripts.cli import COMMANDS, main
from scripts.help import docs, schemas, settings
from scripts.train import RunConfig


@dataclass
class Inner:
    """gamma: the discount.  lam: of the
    advantage."""

    gamma: float = 0.9
    lam: float = 0.5


@dataclass
class Outer:
    """Settings.

    first, second: two of a kind.
    third: one
        on two lines.
    """

    first: int = 1
    second: int = 2
    third: int = 3
    inner: Inner = field(default_factory=Inner)


def test_meanings_come_from_the_docstring() -> None:
    assert docs(Outer) == {
        "first": "two of a kind",
        "second": "two of a kind",
        "third": "one on two lines",
        "inner.gamma": "the discount",
        "inner.lam": "of the",
    }


def test_settings_of_a_run() -> None:
    rows = {key: (default, meaning) for key, default, meaning in settings(RunConfig, "train")}
    assert rows["task"][0] == "go2_velocity"
    assert "hopper" in rows["task"][1]
    assert rows["algo.clip_range"][0] == str(PPOConfig().clip_range)
    assert rows["run_dir"][0] == "null"
    assert "algo.gamma" in rows


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert COMMANDS[name].split(",")[0] in shown.replace("\n", " ")
    assert f"  embodied {name}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_setting_has_a_meaning(name: str) -> None:
    found = schemas(importlib.import_module(f"scripts.{name}"), name)
    assert found or name in ("list", "doctor")
    for schema, config in found.values():
        silent = [key for key, _, meaning in settings(schema, config) if not meaning and not key.startswith("algo.")]
        assert not silent


def test_a_command_of_two_kinds_shows_the_settings_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    first, second = shown.index("Settings of embodied bench finetune"), shown.index("Settings of embodied bench vla")
    assert "tuning_steps" in shown[first:second] and "gallery" not in shown[first:second]
    assert "gallery" in shown[second:] and "tuning_steps" not in shown[second:]
