from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from embodied.datasets import open_dataset
from scripts import demos
from scripts.config import UserError

from .helpers import tiny_run

pytest.importorskip("pyarrow")
SMALL = ("task=hopper", "episodes=3", "num_worlds=2", "num_threads=1")


def run(capsys: pytest.CaptureFixture[str], out: Path, *argv: str) -> dict[str, Any]:
    capsys.readouterr()
    assert demos.main([*SMALL, f"out={out}", *argv]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_checkpoint_demonstrates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expert = tiny_run(tmp_path / "run")
    result = run(capsys, tmp_path / "data", f"expert={expert}", "noise=0.5", "instruction=hop on")
    reader = open_dataset(tmp_path / "data")
    episodes = list(reader)
    assert result["episodes"] == len(episodes) == 3
    assert result["frames"] == sum(map(len, episodes)) and result["attempts"] == 3
    assert result["return"] == pytest.approx(sum(float(e.reward.sum()) for e in episodes) / 3)
    assert result["success"] is None and episodes[0].success is None  # hopper measures none
    assert all(e.terminated and e.instruction == "hop on" for e in episodes)  # an untrained hopper falls
    assert reader.info.task == "hopper" and reader.info.control_dt == pytest.approx(0.008)
    assert reader.info.extra["noise"] == 0.5 and reader.info.extra["task_config"]["name"] == "hopper"
    assert reader.info.extra["made_by"]["command"][:2] == ["embodied", "demos"]
    again = run(capsys, tmp_path / "again", f"expert={expert}", "noise=0.5")
    assert again["return"] == result["return"] and again["frames"] == result["frames"]


def test_replaying_the_actions_gives_the_observations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept is what was executed, frame by frame: hopper is deterministic given its start."""
    import envs

    expert = tiny_run(tmp_path / "run")
    assert (
        demos.main([*SMALL, f"out={tmp_path / 'data'}", f"expert={expert}", "noise=0.3", "seed=4", "episodes=2"]) == 0
    )
    env = envs.make("hopper", num_worlds=2, num_threads=1, seed=4)
    by_length = sorted(open_dataset(tmp_path / "data"), key=len)
    obs, steps = env.reset(seed=4), len(by_length[0])
    starts = [next(e for e in by_length if torch.equal(torch.tensor(e.obs["policy"][0]), x)) for x in obs["policy"]]
    for t in range(steps):
        expected = torch.stack([torch.tensor(episode.obs["policy"][t]) for episode in starts])
        torch.testing.assert_close(obs["policy"], expected, rtol=0, atol=0)
        action = torch.stack([torch.tensor(episode.action[t]) for episode in starts]).unsqueeze(1)
        obs = env.step(action).obs
    env.close()


def test_a_script_demonstrates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, Any] = {"resets": 0}

    class Script:
        def act(self) -> torch.Tensor:
            return torch.full((2, 1, 3), 0.25)

        def reset(self, rows: torch.Tensor) -> None:
            calls["resets"] += 1

    def make_expert(env: Any, noise: float, seed: int) -> Script:
        calls.update(rows=env.num_rows, noise=noise, seed=seed)
        return Script()

    monkeypatch.setitem(sys.modules, "scripts_of_a_test", SimpleNamespace(make_expert=make_expert))  # type: ignore[misc]
    monkeypatch.setitem(demos.EXPERTS, "classic", "scripts_of_a_test")
    run(capsys, tmp_path / "data", "expert=scripted", "noise=0.1", "seed=9")
    assert (calls["rows"], calls["noise"], calls["seed"]) == (2, 0.1, 9) and calls["resets"] >= 3
    assert (open_dataset(tmp_path / "data")[0].action == 0.25).all()


@pytest.mark.render
def test_the_tabletop_is_recorded_with_its_camera_and_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from embodied.text import decode_text

    task = ("task=put_on_plate", "task.image_size=32", "task.cut_after_success=2", "expert=scripted", "seed=5")
    result = run(capsys, tmp_path / "data", *task, "only_success=true")
    reader = open_dataset(tmp_path / "data")
    assert result["episodes"] == len(reader) == 3 and reader.info.obs["image"].is_image
    texts = set()
    for episode in reader:
        assert episode.obs["image"].shape == (len(episode), 32, 32, 3) and episode.obs["image"].std() > 10
        told = decode_text(torch.from_numpy(episode.obs["instruction"]))
        assert set(told) == {episode.instruction} and episode.success
        texts.add(episode.instruction)
    assert len(texts) == 3 and all(" the " in text or text.startswith("the ") for text in texts)
    with pytest.raises(UserError, match="put_on_plate has its own, one an episode"):
        demos.main([*SMALL, *task, f"out={tmp_path / 'other'}", "instruction=go"])


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    expert = tiny_run(tmp_path / "run")
    for argv, message in (
        ([f"out={tmp_path / 'there'}", "expert=hopper"], "is there already; choose another name"),
        ([f"out={tmp_path / 'x'}"], "expert is required"),
        ([f"out={tmp_path / 'x'}", "expert=nobody"], "no checkpoint 'nobody'"),
        ([f"out={tmp_path / 'x'}", "expert=walker2d"], "trained on walker2d does not fit hopper"),
        (
            [f"out={tmp_path / 'x'}", "expert=scripted"],
            "hopper has none, those of an arm do and ManiSkill's PickCube-v1; give a checkpoint",
        ),
        ([f"out={tmp_path / 'x'}", "expert=hopper", "noise=-1"], "noise=-1.0: must not be negative"),
        ([f"out={tmp_path / 'x'}", "expert=hopper", "format=zarr"], "format='zarr'"),
        ([f"out={tmp_path / 'x'}", f"expert={expert}", "only_success=true"], "'hopper' has no success metric"),
        ([f"out={tmp_path / 'x'}", "expert=hopper", "episods=3"], "did you mean 'episodes'?"),
    ):
        with pytest.raises(UserError, match=message):
            demos.main([*SMALL, *argv])
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".x*"))
