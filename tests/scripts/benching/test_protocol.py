from __future__ import annotations

from typing import Any

import pytest

from scripts.benching.protocol import Protocol

DATA: dict[str, Any] = {
    "tasks": {"hopper": {"expert_steps": 10}, "push": {"figure": "success", "scratch": False, "train": ["a=1"]}},
    "bases": {"flow": {"policy": "reinflow"}, "gaussian": {"policy": "mlp"}},
    "methods": {"plain": {"policy": "mlp", "stage": "scratch"}, "tuned": {"policy": "reinflow", "base": "flow"}},
}


def test_only_what_is_needed_is_made() -> None:
    found = Protocol.of(DATA, ["push", "hopper"], ["tuned", "plain"])
    assert list(found.tasks) == ["push", "hopper"] and list(found.bases) == ["flow"]
    assert found.tasks["push"].train == ("a=1",)
    assert [method.name for method in found.methods_of("hopper")] == ["tuned", "plain"]
    assert [method.name for method in found.methods_of("push")] == ["tuned"]
    assert not Protocol.of(DATA, ["hopper"], ["plain"]).bases


@pytest.mark.parametrize(
    ("tasks", "methods", "message"),
    [
        (["hoper"], ["plain"], "did you mean 'hopper'"),
        (["hopper"], ["plane"], "did you mean 'plain'"),
    ],
)
def test_unknown_names(tasks: list[str], methods: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol.of(DATA, tasks, methods)


@pytest.mark.parametrize(
    ("group", "entry", "message"),
    [
        ("methods", {"policy": "mlp", "base": "flou"}, "did you mean 'flow'"),
        ("methods", {"policy": "mlp"}, "a base belongs to stage=finetune"),
        ("methods", {"policy": "mlp", "stage": "scratch", "base": "flow"}, "a base belongs to"),
        ("methods", {"policy": "mlp", "stage": "scrach"}, "did you mean 'scratch'"),
        ("methods", {"policy": "mlp", "stag": "scratch"}, "protocol.methods.x.stag"),
        ("tasks", {"figure": "reward"}, "protocol.tasks.x.figure"),
        ("tasks", {"episodes": 0}, "must be a number above 0"),
    ],
)
def test_wrong_entries(group: str, entry: dict[str, Any], message: str) -> None:
    data = {**DATA, group: {**DATA[group], "x": entry}}
    tasks, methods = (["x"], ["plain"]) if group == "tasks" else (["hopper"], ["x"])
    with pytest.raises(ValueError, match=message):
        Protocol.of(data, tasks, methods)
