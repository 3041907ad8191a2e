from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scripts.benching import vla
from scripts.benching.vla_players import BundlePolicy, fixed, kind_of, make_player
from scripts.config import UserError


def test_names_of_policies(tmp_path: Path) -> None:
    step = "runs/a/checkpoints/step_000000000100"
    assert vla.named(["runs/a", "runs/other/a", step]) == {"a": "runs/a", "a-2": "runs/other/a", "a-3": step}
    assert vla.named({"ppo": "runs/a"}) == {"ppo": "runs/a"}
    assert vla.named("runs/b") == {"b": "runs/b"}


def test_a_folder_with_a_manifest_is_a_bundle(tmp_path: Path) -> None:
    assert kind_of(str(tmp_path)) == "checkpoint"
    (tmp_path / "manifest.json").write_text("{}")
    assert kind_of(str(tmp_path)) == "bundle"


def test_a_policy_for_another_task_is_refused() -> None:
    with pytest.raises(UserError, match="hopper was trained on hopper; this benchmark is on put_on_plate"):
        make_player("hopper")
    with pytest.raises(UserError, match="hopper was trained on hopper"):  # before any job is started
        fixed("hopper")
    with pytest.raises(UserError, match="no checkpoint 'nobody'"):
        make_player("nobody")


class Network:
    """Acts on the last of two observations plus a memory that counts, plus its noise."""

    contract = SimpleNamespace(obs_shape=(2, 3), image=None, instruction=None)

    def initial_memory(self, rows: int) -> dict[str, Any]:
        return {"count": np.zeros((rows, 1), np.float32)}

    def draw_noise(self, rows: int, generator: np.random.Generator) -> Any:
        return np.full((rows, 1), 0.5, np.float32)

    def __call__(
        self, obs: Any, memory: dict[str, Any], noise: Any, image: None, words: None
    ) -> tuple[Any, Any, dict[str, Any]]:
        assert obs.shape[1:] == (2, 3) and obs.dtype == np.float32
        action = obs[:, -1:, :1] + memory["count"][:, None] + noise[:, None]
        return 100 * action, action, {"count": memory["count"] + 1}


def test_a_bundle_decides_by_its_action_and_remembers() -> None:
    policy = BundlePolicy(Network())
    obs = {"policy": torch.arange(12.0).view(2, 2, 3), "instruction": torch.zeros(2, 4)}
    first = policy.act(obs, policy.initial_memory(2))
    second = policy.act(obs, first.memory)
    assert first.action.shape == (2, 1, 1)
    assert first.action.flatten().tolist() == [3.5, 9.5] and second.action.flatten().tolist() == [4.5, 10.5]


def test_an_address_is_a_policy_server() -> None:
    assert kind_of("ws://127.0.0.1:8000?chunk=4") == kind_of("wss://host") == "remote"
    for use in (make_player, fixed):
        with pytest.raises(UserError, match=r"no policy server at ws://127\.0\.0\.1:1: "):
            use("ws://127.0.0.1:1?retries=0")
