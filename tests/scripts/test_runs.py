from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.config import UserError
from scripts.runs import check_free, given, resumed, stored


@dataclass
class Settings:
    """Of some command."""

    seed: int = 0
    total_steps: int = 10
    run_dir: str | None = None
    resume: str | None = None


@pytest.mark.parametrize(
    ("argv", "value"),
    [(["a=1", "init=x/y"], "x/y"), (["a=1"], None), (["init=null"], None), (["other.init=3"], None)],
)
def test_what_the_command_line_says_of_a_key(argv: list[str], value: str | None) -> None:
    assert given(argv, "init") == value


def test_a_run_keeps_its_settings_but_for_a_few(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: 7\ntotal_steps: 20\n", encoding="utf-8")
    argv = [f"resume={tmp_path}", "total_steps=30"]
    config = resumed(Settings, "some", str(tmp_path), argv)
    assert (config.seed, config.total_steps, config.run_dir) == (7, 30, str(tmp_path))
    with pytest.raises(UserError, match="a resumed run keeps its settings"):
        resumed(Settings, "some", str(tmp_path), ["seed=1"])


def test_a_run_of_another_command_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("rule: dsrl\n", encoding="utf-8")
    with pytest.raises(UserError, match="not a run of `embodied some`"):
        resumed(Settings, "some", str(tmp_path), [])


def test_a_folder_in_use_names_the_command_that_continues_it(tmp_path: Path) -> None:
    check_free(tmp_path / "new", "some")
    check_free(tmp_path, "some")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UserError, match=f"embodied some resume={tmp_path}"):
        check_free(tmp_path, "some")


def test_where_a_run_lies_is_not_part_of_it() -> None:
    assert stored({"seed": 1, "run_dir": "a", "resume": "b"}) == {"seed": 1}
