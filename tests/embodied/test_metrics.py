"""Episode means, and files that survive a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from embodied.metrics import EpisodeWindow, JsonlWriter, RunLog, read_jsonl
from embodied.types import StepResult


def step_of(returns: list[float], done: list[bool], active: Tensor | None = None) -> StepResult:
    ended = torch.tensor(done)
    metrics = {"return": torch.tensor(returns), "error": torch.tensor([float("nan")] + [2.0] * (len(done) - 1))}
    return StepResult({}, torch.zeros(len(done)), ended, ~ended & ended, {}, metrics, active)


def test_means_are_over_ended_active_rows_and_skip_what_is_not_finite() -> None:
    window = EpisodeWindow(size=1)
    window.add(step_of([1.0, 3.0, 100.0, 1000.0], [True, True, False, True], torch.tensor([True, True, True, False])))
    window.add(step_of([0.0, 0.0], [False, False]))
    assert window.commit() == {"episode/return": 2.0, "episode/error": 2.0}


def test_the_window_reaches_back_over_enough_episodes_and_no_further() -> None:
    window = EpisodeWindow(size=2)
    means = []
    for value in (1.0, 2.0, 6.0):
        window.add(step_of([value], [True]))
        means.append(window.commit()["episode/return"])
    assert means == [1.0, 1.5, 4.0]
    assert window.commit()["episode/return"] == 4.0  # nothing ended: the last ones stand
    other = EpisodeWindow(size=2)
    other.load_state_dict(json.loads(json.dumps(window.state_dict())))
    assert other.commit() == window.commit()


def test_no_means_before_the_first_episode() -> None:
    window = EpisodeWindow()
    window.add(step_of([1.0], [False]))
    assert window.commit() == {}


def test_jsonl_drops_a_torn_line_and_what_lies_beyond_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step}) for step in (10, 20, 30)]
    path.write_text("\n".join(lines) + '\n{"step": 40, "ret')
    assert [r["step"] for r in read_jsonl(path)] == [10, 20, 30]
    writer = JsonlWriter(path, last_step=20)
    writer.write({"step": 30, "loss": float("nan"), "kl": 0.5})
    writer.sync()
    writer.close()
    assert path.read_text() == '{"step": 10}\n{"step": 20}\n{"step": 30, "loss": null, "kl": 0.5}\n'


def test_a_fresh_run_starts_a_fresh_log(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n')
    JsonlWriter(path).close()
    assert path.read_text() == ""


def test_a_run_log_writes_jsonl_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path / "run")
    log.write({"step": 7, "loss/policy": 0.25, "note": "text", "bad": float("inf")})
    log.sync()
    log.close()
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl") == [
        {"step": 7, "loss/policy": 0.25, "note": "text", "bad": None}
    ]
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert events.Tags()["scalars"] == ["loss/policy"]
    assert [(e.step, e.value) for e in events.Scalars("loss/policy")] == [(7, 0.25)]


def test_wandb_is_only_imported_when_asked_and_its_absence_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    RunLog(tmp_path / "without").close()
    with pytest.raises(ImportError, match="pip install wandb"):
        RunLog(tmp_path / "with", wandb={})
