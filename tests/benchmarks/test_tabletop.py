"""The benchmark of learning from pixels trains what the comparison trains, and its peer learns the same network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import tabletop
from scripts.config import plain
from scripts.train import configure


def test_it_trains_what_the_comparison_trains() -> None:
    config = plain(configure(tabletop.settings(8, 2)))
    assert (config["policy"]["trunk"]["width"], config["policy"]["critic"]) == (96, "separate")
    assert (config["task"]["chunk"], config["task"]["image_size"], config["task"]["num_render_workers"]) == (4, 64, 2)
    assert (config["num_worlds"], config["algo"]["num_steps"]) == (8, tabletop.STEPS)
    assert tabletop.STEPS * config["task"]["chunk"] == config["task"]["horizon"]  # one episode a rollout
    assert plain(configure(tabletop.settings(8, 1)))["task"]["num_render_workers"] == 0


def test_the_peer_learns_with_our_likelihoods() -> None:
    pytest.importorskip("stable_baselines3")
    from benchmarks.peers.tabletop_worker import Job, learner

    settings = [*tabletop.settings(2, 1), "task.image_size=0"]
    model = learner(Job(settings, worlds=2, decisions=16, iterations=1, threads=1))
    assert (model.n_steps, model.batch_size, model.n_epochs) == (8, 4, 2)
    obs = model.env.reset()
    seen = {name: torch.as_tensor(group) for name, group in obs.items()}
    with torch.no_grad():
        action, value, log_prob = model.policy(seen)
        again, likelihood, entropy = model.policy.evaluate_actions(seen, action.flatten(1))  # as its buffer keeps them
    assert action.shape == (2, 4, 5) and entropy.shape == (2,)
    torch.testing.assert_close((again, likelihood), (value, log_prob))
    before = [parameter.clone() for parameter in model.policy.ours.trunk.parameters()]
    model.learn(16)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.policy.ours.trunk.parameters(), strict=True))
    model.env.close()


@pytest.mark.slow
@pytest.mark.render
def test_both_sides_and_the_images_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    out = tmp_path / "tabletop.json"
    small = ["--worlds", "4", "--iterations", "1", "--peer-worlds", "2", "--threads", "1", "--frames", "4"]
    tabletop.main([*small, "--rounds", "1", "--image-rounds", "1", "--image-size", "64", "--out", str(out)])
    result = json.loads(out.read_text())
    rates = result["training"]["decisions_per_second"]
    assert result["training"]["ratio"]["median"] == pytest.approx(rates["ours"]["median"] / rates["sb3"]["median"])
    assert set(result["bars"]) == {"images", "decisions", "peer"}
    assert 0.2 < result["images"]["ratio"]["median"] < 1.5  # the renderer alone has less to do
