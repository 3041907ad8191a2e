"""Which Vulkan driver is chosen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envs.maniskill import vulkan
from scripts import setup_vulkan


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One that is there, on a machine without a GPU where nobody has chosen."""
    for name in (*vulkan.CHOICES, "LP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(vulkan, "DRIVER", tmp_path / "lvp_icd.json")
    monkeypatch.setattr(vulkan, "_nvidia", lambda: False)
    vulkan.DRIVER.touch()
    return vulkan.DRIVER


def test_the_environments_own_is_chosen(driver: Path) -> None:
    vulkan.choose_driver()
    assert os.environ["VK_ICD_FILENAMES"] == str(driver)


def test_what_a_user_has_chosen_stays(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", "/mine.json")
    vulkan.choose_driver()
    assert "VK_ICD_FILENAMES" not in os.environ


def test_a_gpu_goes_first(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulkan, "_nvidia", lambda: True)
    vulkan.choose_driver()
    assert "VK_ICD_FILENAMES" not in os.environ


def test_the_script_and_the_tasks_mean_the_same_file() -> None:
    assert setup_vulkan.FOLDER / setup_vulkan.DRIVER == vulkan.DRIVER
