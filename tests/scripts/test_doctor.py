from __future__ import annotations

import json

import pytest

from scripts import doctor, probes
from scripts.cli import main
from scripts.probes import Check


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch):
    def put(**checks: list[Check]) -> None:
        monkeypatch.setattr(probes, "SECTIONS", {name: lambda found=found: found for name, found in checks.items()})

    return put


def test_a_broken_core_is_status_1(sections, capsys: pytest.CaptureFixture[str]) -> None:
    sections(core=[Check("torch", "broken", "no module", "make env")], extras=[])
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "torch: make env" in shown
    assert "the core is broken" in shown


def test_a_missing_extra_is_status_0_with_its_command(sections, capsys: pytest.CaptureFixture[str]) -> None:
    sections(core=[Check("torch", "ok", "2")], extras=[Check("vla", "missing", "-", "pip install -e '.[vla]'")])
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "vla: pip install -e '.[vla]'" in shown
    assert "the core works" in shown


def test_json(sections, capsys: pytest.CaptureFixture[str]) -> None:
    sections(core=[Check("torch", "ok", "2")], graphics=[Check("EGL", "missing", "no frame", "apt-get")])
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["core_works"] is True
    assert found["graphics"] == [{"name": "EGL", "status": "missing", "detail": "no frame", "mend": "apt-get"}]


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--jsn"]) == 2
    assert "--json and nothing else" in capsys.readouterr().err


def test_every_section_has_a_heading_of_its_own() -> None:
    assert list(probes.SECTIONS) == ["core", "graphics", "accelerators", "extras"]
    assert set(doctor.MARKS) == {"ok", "missing", "broken"}
