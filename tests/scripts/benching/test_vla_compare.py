from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.benching import vla_compare
from scripts.benching.jobs import Job, unique
from scripts.benching.vla_compare import Plan, Planner, Point, chosen, time_limit, within
from scripts.benching.vla_config import configure
from scripts.config import UserError, compose
from scripts.pretrain import PretrainConfig
from scripts.train import RunConfig


def planner(work: Path, *argv: str) -> Planner:
    config = configure(["what=vla", "compare=[sft,ppo,grpo]", *argv])
    return Planner(Plan.of(config.protocol, config.compare), 1, work)


def words(job: Job) -> list[str]:
    return job.argv()[3:]


def test_every_method_starts_from_one_warm_up(tmp_path: Path) -> None:
    plan = planner(tmp_path, "protocol.steps=1000", "protocol.warmup.episodes=7", "protocol.warmup.approaches=0")
    jobs = unique(plan.all(2))
    assert list(jobs) == [
        *("demos/warmup", "demos/sft", "warmup"),
        *(f"train/{name}/seed{seed}" for name in ("sft", "ppo", "grpo") for seed in (0, 1)),
    ]
    warmup = jobs["warmup"]
    assert "episodes=7" in words(jobs["demos/warmup"]) and "policy=compact_vla" in words(warmup)
    assert f"dataset=[{jobs['demos/warmup'].out}]" in words(warmup) and "task.chunk=4" in words(warmup)
    settings = json.loads(jobs["train/sft/seed1"].argv()[3])
    assert settings["init"] == str(warmup.out) and settings["seed"] == 1
    assert settings["dataset"] == [str(jobs["demos/sft"].out)]
    grpo = words(jobs["train/grpo/seed0"])
    assert {f"init={warmup.out}", "algo=grpo", "task.group=8", "total_steps=1000", "checkpoint_interval=50"} <= set(
        grpo
    )
    assert jobs["train/grpo/seed0"].needs == ("warmup",)


def test_the_warm_up_alone_has_the_threads_of_all(tmp_path: Path) -> None:
    made = planner(tmp_path)
    jobs = unique(replace(made, num_threads=2, processes=3).all(1))
    assert "num_threads=6" in words(jobs["warmup"])
    assert "num_threads=2" in words(jobs["demos/warmup"]) and "num_threads=2" in words(jobs["train/ppo/seed0"])
    assert json.loads(jobs["train/sft/seed0"].argv()[3])["num_threads"] == 2


def test_approaches_are_demonstrations_beside_the_others(tmp_path: Path) -> None:
    plan = planner(tmp_path, "protocol.warmup.approaches=5")
    jobs = unique(plan.all(1))
    whole, begun = jobs["demos/warmup"], jobs["demos/warmup_approaches"]
    assert {"episodes=5", "task.cut_after=10"} <= set(words(begun)) and "task.cut_after=10" not in words(whole)
    assert jobs["warmup"].needs == ("demos/warmup", "demos/warmup_approaches")
    assert f"dataset=[{whole.out},{begun.out}]" in words(jobs["warmup"])
    seeds = {word for job in (whole, begun, jobs["demos/sft"]) for word in words(job) if word.startswith("seed=")}
    assert len(seeds) == 3  # no scene is shown twice
    assert "padding=drop" in words(jobs["warmup"])
    assert json.loads(jobs["train/sft/seed0"].argv()[3])["padding"] == "repeat"


@pytest.mark.slow
def test_the_protocol_is_made_of_settings_that_exist(tmp_path: Path) -> None:
    for argv in ([], ["preset=quick"]):
        plan = planner(tmp_path, "compare=[ppo,grpo,dpo]", *argv)
        for job in plan.all(1):
            command, *arguments = words(job)
            given = [a for a in arguments if not a.startswith("init=")]
            if command == "train":
                assert compose(RunConfig, "train", ["policy=compact_vla", *given]).algo.group_size in (4, 8)
            if command == "pretrain":
                assert compose(PretrainConfig, "pretrain", given).task.chunk == 4


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["compare=[sftt]"], "did you mean 'sft'"),
        (["compare=[ppo,ppo]"], "names one twice"),
        (["compare=[]"], "give either policies="),
        (["policies=[a]"], "give either policies="),
        (["rows=[unseen_tables]"], "did you mean 'unseen_table'"),
        (["episodes=0"], "must be a number above 0"),
        (["preset=fast"], "valid: full, quick"),
        (["protocol.methods.ppo.kind=rll"], "did you mean 'rl'"),
        (["protocol.warmup.episodes=0"], "must be a number above 0"),
    ],
)
def test_mistakes(tmp_path: Path, argv: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        planner(tmp_path, *argv)


def run(job: Job, seconds: dict[int, float]) -> None:
    """A finished job that left checkpoints."""
    job.out.mkdir(parents=True)
    job.record.write_text("{}", encoding="utf-8")
    records = [{"step": step, "seconds": x} for step, x in seconds.items()]
    (job.out / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    for step in seconds:
        folder = job.out / "checkpoints" / f"step_{step:012d}"
        folder.mkdir(parents=True)
        (folder / "checkpoint.json").write_text("{}", encoding="utf-8")


def test_checkpoints_by_samples_and_by_time(tmp_path: Path) -> None:
    plan = planner(tmp_path)
    run(plan.training("sft", 0), {500: 30.0})
    run(plan.training("ppo", 0), {100: 12.0, 200: 25.0, 300: 40.0})
    run(plan.training("grpo", 0), {100: 5.0, 200: 11.0})
    (demos,) = plan.demos("sft")
    demos.folder.mkdir(parents=True)
    demos.log.write_text('{"frames": 4321}', encoding="utf-8")
    found = chosen(plan, 2)  # seed 1 was never trained
    steps = {name: Path(path).name[-3:] for name, path in found.sources.items() if name != "warmup"}
    assert steps == {"sft-s0": "500", "ppo-s0": "300", "ppo-s0-time": "200", "grpo-s0": "200"}
    assert found.methods["samples"]["ppo"] == {"policies": ["ppo-s0"], "env_steps": [300], "seconds": [40.0]}
    assert found.methods["time"]["sft"] == {"policies": ["sft-s0"], "env_steps": [4321], "seconds": [30.0]}
    assert found.methods["time"]["ppo"] == {"policies": ["ppo-s0-time"], "env_steps": [200], "seconds": [25.0]}
    assert found.methods["time"]["grpo"]["policies"] == ["grpo-s0"]


def test_the_limit_of_time() -> None:
    def ended(seconds: float) -> list[Point]:
        return [Point(Path("x"), 1, seconds)]

    methods: dict[str, Any] = {"sft": vla_compare.Method("sft"), "ppo": vla_compare.Method()}
    plan = Plan((), (), 4, vla_compare.Cloning(1, 1), vla_compare.Cloning(1, 1), 1, (), methods)
    runs = {("sft", 0): ended(3.0), ("sft", 1): ended(4.0), ("ppo", 0): ended(2.0)}
    assert time_limit(plan, runs) == 4.0
    assert time_limit(plan, {("ppo", 0): ended(2.0), ("ppo", 1): ended(5.0)}) == 2.0
    assert within(ended(9.0), 1.0).seconds == 9.0
