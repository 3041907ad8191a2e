"""The driver's set-up, with commands that are not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import setup_vulkan


@pytest.mark.parametrize(
    ("version", "expected"),
    [("25.0.7-2~bpo12+1", (25, 0)), ("22.3.6-1+deb12u2", (22, 3)), ("1:24.3.1", (24, 3)), ("?", (0, 0))],
)
def test_versions_are_compared_as_numbers(version: str, expected: tuple[int, int]) -> None:
    assert setup_vulkan.number(version) == expected


def test_only_releases_of_the_archive_itself_have_backports(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "U bookworm main\nU bookworm main\nU bookworm-updates main\nS bookworm-security main\nU bookworm contrib\n"
    monkeypatch.setattr(setup_vulkan, "output", lambda command: listed)
    monkeypatch.setattr(setup_vulkan, "KEYRINGS", [])
    assert setup_vulkan.sources("-backports") == ["deb U bookworm-backports main"]
    monkeypatch.setattr(setup_vulkan, "KEYRINGS", [Path("/dev/null")])
    assert setup_vulkan.sources("") == ["deb [signed-by=/dev/null] U bookworm main"]


def test_takes_the_backport_where_the_release_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = []

    def run(command: list[str], cwd: Path | None = None) -> str:
        ran.append(command[0] + " " + command[-1])
        if "indextargets" in command:
            return "U bookworm main\n"
        if "madison" in command:
            old = " p | 22.3.6-1 | U bookworm/main\n"
            backported = any("-backports" in part for part in command)
            return (" p | 25.0.7-2~bpo12+1 | U bookworm-backports/main\n" if backported else "") + old
        if "download" in command:
            (tmp_path / "mesa-vulkan-drivers_25.deb").touch()
        return ""

    monkeypatch.setattr(setup_vulkan, "output", run)
    assert setup_vulkan.fetch(tmp_path).name == "mesa-vulkan-drivers_25.deb"
    assert ran[-1] == "apt-get mesa-vulkan-drivers=25.0.7-2~bpo12+1"
    written = tmp_path / "apt-backports" / "sources" / "vulkan.list"
    assert written.read_text().endswith("U bookworm-backports main\n")


def test_says_what_to_do_where_there_is_no_apt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(setup_vulkan, "FOLDER", tmp_path)
    monkeypatch.setattr(setup_vulkan.shutil, "which", lambda name: None)
    assert setup_vulkan.main() == 1
    assert "24.3 or later" in capsys.readouterr().err


def test_a_driver_that_works_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("nothing is to be fetched")

    monkeypatch.setattr(setup_vulkan, "FOLDER", tmp_path)
    monkeypatch.setattr(setup_vulkan, "works", lambda library: True)
    monkeypatch.setattr(setup_vulkan, "install", never)
    assert setup_vulkan.main() == 0
    about = json.loads((tmp_path / "lvp_icd.json").read_text())
    assert about["ICD"]["library_path"] == str(tmp_path / "libvulkan_lvp.so")


def test_not_a_library(tmp_path: Path) -> None:
    assert not setup_vulkan.works(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("text")
    assert not setup_vulkan.works(tmp_path / "text.so")


def test_failures_show_what_the_command_said() -> None:
    with pytest.raises(setup_vulkan.SetupError, match="no such thing"):
        setup_vulkan.output(["sh", "-c", "echo no such thing >&2; exit 3"])
