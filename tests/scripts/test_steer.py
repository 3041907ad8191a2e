from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import policies
from embodied import checkpoint as checkpoints
from embodied.normalize import ObsNormalizer
from scripts.agents import load_agent
from scripts.cli import main
from scripts.common import make_env
from scripts.config import compose, plain
from scripts.steer import configure, steered
from scripts.train import RunConfig

pytest.importorskip("stable_baselines3")
BASE = {
    "kind": "dppo",
    "critic_hidden": [4],
    "mlp": {"hidden": [8], "time_size": 4},
    "diffusion": {"train_steps": 2, "eta": 0.0},
}
FEW = (
    *("num_worlds=2", "num_threads=1", "policy.hidden=[8]", "total_steps=32"),
    *("algo.num_steps=4", "algo.learning_starts=4", "algo.gradient_steps=1", "algo.batch_size=8"),
)


def save_pretrained(run_dir: Path, policy: dict[str, Any], *task: str) -> Path:
    """A checkpoint such as behaviour cloning leaves, of hopper in chunks of 2 control steps unless told otherwise."""
    config = plain(compose(RunConfig, "train", ["task=hopper", *(task or ("task.chunk=2",))]))["task"]
    env = make_env(config, num_worlds=1, device=torch.device("cpu"), num_threads=1)
    made: Any = policies.make(policy, env.spec)
    normalizer = ObsNormalizer.of(env.spec)
    normalizer.accumulate({name: 1 + 2 * torch.randn(50, *group.shape) for name, group in env.spec.obs.items()})
    normalizer.commit()
    env.close()
    stored = {"task": config, "policy": policy, "seed": 0}
    where: Any = {"env_steps": 3, "iteration": 3, "training": {}, "spec": env.spec, "config": stored}
    checkpoints.save(run_dir, policy=made, normalizer=normalizer, **where)
    return run_dir


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    return save_pretrained(tmp_path_factory.mktemp("pretrained") / "run", BASE)


def run(pretrained: Path, run_dir: Path, rule: str, *argv: str) -> Path:
    assert main(["steer", f"init={pretrained}", f"rule={rule}", *FEW, f"run_dir={run_dir}", *argv]) == 0
    return run_dir


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(["steer", *argv]) == 2
    return capsys.readouterr().err


def records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    timing = ("seconds", "steps_per_second", "collect_seconds", "update_seconds")
    return [{k: v for k, v in json.loads(line).items() if k not in timing} for line in lines]


# What a run leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["dsrl", "expo"])
def test_a_run_leaves_what_it_should(
    rule: str, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(pretrained, tmp_path / "run", rule, "seed=3", "checkpoint_interval=16")
    assert f"embodied evaluate checkpoint={made}" in capsys.readouterr().out
    stored = OmegaConf.load(made / "config.yaml")
    assert (stored.rule, stored.seed, stored.task.chunk, stored.policy.kind) == (rule, 3, 2, rule)
    assert "run_dir" not in stored and "resume" not in stored
    assert checkpoints.load(made).config == OmegaConf.to_container(stored)
    assert json.loads((made / "provenance.json").read_text())["seed"] == 3
    assert [path.name for path in checkpoints.complete(made)] == ["step_000000000016", "step_000000000032"]
    assert list(made.glob("events.out.tfevents.*"))
    first, last = records(made)  # 2 worlds x 4 decisions x 2 control steps
    assert first["step"] == 16 and last["step"] == 32 and last["replay"] == 16
    assert {"loss/critic", "loss/actor", "temperature"} <= set(last)


@pytest.mark.parametrize("rule", ["dsrl", "expo"])
def test_the_frozen_policy_is_the_pretrained_one_and_stays_so(rule: str, pretrained: Path, tmp_path: Path) -> None:
    made = run(pretrained, tmp_path / "run", rule)
    before, after = checkpoints.load(pretrained).model, checkpoints.load(made).model
    for name, x in before.items():
        other = f"policy.base.{name.removeprefix('policy.')}" if name.startswith("policy.") else name
        assert torch.equal(after[other], x), name
    assert any(name.startswith("policy.actor.") for name in after)
    obs = {"policy": torch.randn(3, 11)}
    agent, base = load_agent(made), load_agent(pretrained)
    assert agent.normalizer is not None and base.normalizer is not None
    assert torch.equal(agent.normalizer(obs)["policy"], base.normalizer(obs)["policy"])


@pytest.mark.parametrize("rule", ["dsrl", "expo"])
def test_other_commands_take_the_run(
    rule: str, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(pretrained, tmp_path / "run", rule)
    assert main(["evaluate", f"checkpoint={made}", "episodes=2", "num_threads=1"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["trained_on"] == "hopper" and result["metrics"]["return"]["mean"] is not None
    assert main(["play", f"checkpoint={made}", "viewer=none", "seconds=0.1"]) == 0
    assert main(["report", f"run_dir={made}"]) == 0
    assert (made / "evaluation.json").exists() and (made / "report.html").exists()


def test_a_resumed_run_equals_an_uninterrupted_one(pretrained: Path, tmp_path: Path) -> None:
    whole = run(pretrained, tmp_path / "whole", "dsrl", "total_steps=64")
    parts = run(pretrained, tmp_path / "parts", "dsrl")
    assert main(["steer", f"resume={parts}", "total_steps=64"]) == 0
    for first, second in zip(records(whole), records(parts), strict=True):
        assert first == pytest.approx(second, rel=1e-5)
    # Products of small matrices round differently by where they lie in memory, which differs between processes.
    first, second = checkpoints.load(whole).model, checkpoints.load(parts).model
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)
    assert len(json.loads((parts / "provenance.json").read_text())["resumed"]) == 1


def test_a_run_goes_on_without_what_it_began_from(tmp_path: Path) -> None:
    begun = save_pretrained(tmp_path / "begun", BASE)
    made = run(begun, tmp_path / "run", "dsrl")
    begun.rename(tmp_path / "elsewhere")
    assert main(["steer", f"resume={made}", "total_steps=48"]) == 0
    assert checkpoints.load(made).env_steps == 48


def test_a_run_killed_before_its_first_checkpoint_starts_from_the_pretrained_policy(
    pretrained: Path, tmp_path: Path
) -> None:
    whole, killed = run(pretrained, tmp_path / "whole", "dsrl"), run(pretrained, tmp_path / "killed", "dsrl")
    for path in (killed / "checkpoints").rglob("*.*"):
        path.unlink()
    assert main(["steer", f"resume={killed}"]) == 0
    assert records(whole) == records(killed)


# Configuration ----------------------------------------------------------------------------------------------------


def test_settings_of_the_frozen_policy_and_the_rule(pretrained: Path) -> None:
    argv = [f"init={pretrained}", "rule=dsrl", "policy.bound=2", "policy.base.diffusion.eta=0.5"]
    config = configure(argv)
    assert config.policy.bound == 2 and config.policy.base.diffusion.eta == 0.5
    assert (config.policy.base.kind, config.task.name, config.task.chunk) == ("dppo", "hopper", 2)
    other = configure([f"init={pretrained}", "rule=expo", "task=walker2d"])
    assert (other.task.name, other.task.chunk, other.policy.candidates) == ("walker2d", 2, 8)


def test_a_rules_settings_are_its_defaults() -> None:
    found = steered("expo", {"kind": "ncdpo"})
    assert found["kind"] == "expo" and found["base"] == {"kind": "ncdpo"} and found["candidates"] == 8
    assert "bound" in steered("dsrl", {}) and "bound" not in found


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["rule=ppo"], "rule='ppo': valid: dsrl, expo"),
        (["rule=dsrl", "policy=mlp"], "policy is that of init"),
        (["rule=dsrl", "policy.candidates=3"], "unknown key 'policy.candidates'"),
        (["rule=expo", "policy.candidats=3"], "did you mean 'policy.candidates'?"),
        (["rule=dsrl", "policy.bound=-1"], "policy.bound=-1: must be a number above 0"),
        (["rule=dsrl", "algo.gamma=2"], "algo.gamma=2.0: must lie in [0, 1]"),
        (["rule=dsrl", "task=walker2d"], "a policy trained on hopper does not fit walker2d"),
        (["rule=dsrl", "task.chunk=1"], "does not fit hopper: task.chunk is 1, not 2"),
        (["rule=dsrl", "policy.base.mlp.hidden=[9]"], "these weights do not fit"),
        (["rule=dsrl", "policy.base.diffusion.eta=1"], "draws 2 noise tensors a decision; DSRL steers one"),
    ],
)
def test_mistakes(
    argv: list[str], message: str, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["num_worlds=2", "num_threads=1", f"run_dir={tmp_path / 'run'}"]
    assert message in error(capsys, f"init={pretrained}", *common, *argv)
    assert not (tmp_path / "run").exists()


def test_what_is_required(capsys: pytest.CaptureFixture[str], pretrained: Path) -> None:
    assert "init and rule are required" in error(capsys, "rule=dsrl")
    assert "init and rule are required" in error(capsys, f"init={pretrained}")
    assert "no checkpoint 'nowhere'" in error(capsys, "init=nowhere", "rule=dsrl")


def test_a_policy_without_noise_cannot_be_steered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["init=hopper", "rule=dsrl", "num_worlds=2", "num_threads=1", f"run_dir={tmp_path / 'run'}"]
    assert "MLPPolicy takes no noise and cannot be steered" in error(capsys, *argv)


def test_runs_are_resumed_by_the_command_that_made_them(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(pretrained, tmp_path / "run", "dsrl")
    assert "the run is complete: 32 steps of 32" in error(capsys, f"resume={made}")
    assert "a resumed run keeps its settings" in error(capsys, f"resume={made}", "rule=expo")
    assert f"embodied steer resume={made}" in error(capsys, f"init={pretrained}", "rule=dsrl", f"run_dir={made}")
    assert main(["train", f"resume={made}"]) == 2
    assert "not a run of `embodied train`" in capsys.readouterr().err
