"""The benchmark of learning from pixels trains what the comparison trains, and its peer learns the same network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from benchmarks import tabletop
from scripts.benching.vla_compare import Plan, Planner
from scripts.config import plain
from scripts.train import configure


def test_it_trains_what_the_comparison_trains() -> None:
    plan = tabletop.protocol()
    jobs = {job.name: job for job in Planner(Plan.of(plan, ["ppo"]), 1, Path("work")).all(1)}
    kept = ("init=", "run_dir=", "total_steps=", "checkpoint_interval=", "keep_checkpoints=")
    words = [word for word in jobs["train/ppo/seed0"].argv()[4:] if not word.startswith(kept)]
    inherited = [*plan["policy"], f"task.chunk={plan['chunk']}"]  # from init
    theirs = plain(configure([*words, *inherited]))
    ours = plain(configure(tabletop.settings(256, 2)))
    assert (ours["num_threads"], ours["task"]["num_render_workers"], ours["algo"]["critic_warmup"]) == (2, 2, 0)
    theirs["num_threads"], theirs["task"]["num_render_workers"], theirs["algo"]["critic_warmup"] = 2, 2, 0
    assert ours == theirs
    assert ours["algo"]["num_steps"] == tabletop.STEPS
    assert tabletop.STEPS * ours["task"]["chunk"] == ours["task"]["horizon"]  # one episode a rollout


def test_the_first_rollout_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> str:
        commands.append(command)
        (run_dir,) = [Path(word.removeprefix("run_dir=")) for word in command if word.startswith("run_dir=")]
        run_dir.mkdir()
        records = [{"step": 480 * i, "seconds": 2.0 * i + 30.0} for i in (1, 2, 3)]
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return ""

    monkeypatch.setattr(tabletop, "_run", run)
    args = argparse.Namespace(iterations=2, worlds=8, threads=1)
    assert tabletop.train(args) == 960 / 4 / 4.0  # decisions of 4 steps
    assert "total_steps=1440" in commands[0]  # 3 rollouts of 8 worlds x 15 decisions x 4 steps


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
    with pytest.raises(ValueError, match="no whole number of steps of 3 environments"):
        Job(settings, worlds=3, decisions=16, iterations=1, threads=1)


@pytest.mark.slow
@pytest.mark.render
def test_both_sides_and_the_images_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    out = tmp_path / "tabletop.json"
    small = ["--worlds", "4", "--iterations", "1", "--peer-worlds", "2", "--threads", "1", "--frames", "16"]
    tabletop.main([*small, "--rounds", "1", "--image-rounds", "5", "--image-size", "64", "--out", str(out)])
    result = json.loads(out.read_text())
    rates = result["training"]["decisions_per_second"]
    assert min(rates["ours"]["median"], rates["sb3"]["median"]) > 1
    assert set(result["bars"]) == {"images", "decisions", "peer"}
    assert 0.2 < result["images"]["ratio"]["median"] < 1.5  # the renderer alone has less to do
