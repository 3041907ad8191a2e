from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.benching.figures import collect
from scripts.benching.finetune import Budget, Planner, choose, execute
from scripts.benching.jobs import Job, unique
from scripts.benching.protocol import Base, Method, Protocol, TaskPlan

HOPPER = TaskPlan("hopper", threshold=2.0, expert_steps=500, train=("num_worlds=4",))
PUSH = TaskPlan("push", "success", 0.8, noise=0.3, scratch=False, settings=("task.horizon=50",))
PLAIN = Method("plain", "mlp", "scratch")
TUNED = Method("tuned", "reinflow", base="flow", settings=("policy.flow.steps=1",))
FLOW = Base("flow", "reinflow", ("task.chunk=4",))


def planner(
    work: Path, rates: tuple[float, ...] = (1e-4, 1e-3), tasks: tuple[TaskPlan, ...] = (HOPPER, PUSH)
) -> Planner:
    protocol = Protocol({task.name: task for task in tasks}, {"flow": FLOW}, {"plain": PLAIN, "tuned": TUNED})
    return Planner(protocol, Budget(1000, (0, 1), rates, 300, (100,), 50, 8, 1), work)


def words(job: Job) -> list[str]:
    return job.argv()[3:]


def test_from_expert_to_evaluation(tmp_path: Path) -> None:
    plan = planner(tmp_path)
    expert, demos = plan.demos(HOPPER)
    assert words(expert)[0] == "train" and "total_steps=500" in words(expert) and "num_worlds=4" not in words(expert)
    assert {f"expert={expert.out}", "episodes=96", f"out={demos.out}"} <= set(words(demos))
    base = plan.base(HOPPER, FLOW)
    assert words(base)[0] == "pretrain" and base.needs == (demos.name,)
    assert {f"dataset={demos.out}", "policy=reinflow", "steps=50", "task.chunk=4"} <= set(words(base))
    run = plan.training(HOPPER, TUNED, 3e-4, 7, 1000, "final")
    assert run.name == "hopper/final/tuned/seed7" and run.needs == (base.name,)
    asked = {
        f"init={base.out}",
        "policy.flow.steps=1",
        "algo.learning_rate=0.0003",
        "seed=7",
        "total_steps=1000",
        "checkpoint_interval=100",
    }
    assert {*asked, "num_worlds=4", f"run_dir={run.out}"} <= set(words(run))
    most_likely, drawn = plan.evaluations(run)
    assert {"deterministic=true", f"checkpoint={run.out}", "episodes=8"} <= set(words(most_likely))
    assert "deterministic=false" in words(drawn) and drawn.needs == (run.name,)


def test_a_scripted_expert_is_not_trained(tmp_path: Path) -> None:
    (demos,) = planner(tmp_path).demos(PUSH)
    assert {"expert=scripted", "noise=0.3", "task.horizon=50"} <= set(words(demos))


def test_a_run_from_scratch_needs_nothing(tmp_path: Path) -> None:
    run = planner(tmp_path).training(HOPPER, PLAIN, 1e-3, 0, 1000, "final")
    assert run.needs == () and not any(word.startswith("init=") for word in words(run))


def test_all_methods_are_compiled_or_none(tmp_path: Path) -> None:
    plain = planner(tmp_path)
    compiled = replace(plain, budget=replace(plain.budget, compile=True))
    for method in (PLAIN, TUNED):
        told = [words(plan.training(HOPPER, method, 3e-4, 0, 9, "final")) for plan in (plain, compiled)]
        assert [("algo.compile=true" in arguments) for arguments in told] == [False, True]
    assert "algo.compile=true" not in words(compiled.expert(HOPPER))


def test_every_method_is_tuned_alike(tmp_path: Path) -> None:
    plan = planner(tmp_path)
    trials = plan.tuning()
    assert set(trials) == {("hopper", "plain"), ("hopper", "tuned"), ("push", "tuned")}
    assert {tuple(len(runs) for runs in each) for each in trials.values()} == {(1, 1)}
    flat = [job for each in trials.values() for runs in each for job in runs]
    assert all({"seed=100", "total_steps=300"} <= set(words(job)) for job in flat)
    assert len(unique(flat)) == 6
    assert planner(tmp_path, (3e-4,)).tuning() == {}


def test_a_tuned_task_goes_by_its_files(tmp_path: Path) -> None:
    push = replace(PUSH, tuned=True)
    made = planner(tmp_path, tasks=(HOPPER, push))
    method = replace(TUNED, learning=("algo.clip_range=0.5",))
    plan = replace(made, protocol=replace(made.protocol, methods={"plain": PLAIN, "tuned": method}))
    trials = plan.tuning()
    assert set(trials) == {("hopper", "plain"), ("hopper", "tuned")}
    rates = choose(plan, trials)
    assert rates == {("push", "tuned"): None}  # no trial of hopper has run
    by_files = words(plan.final(rates)["push", "tuned"][0])
    assert "policy.flow.steps=1" in by_files
    assert not any(word.startswith(("algo.clip_range", "algo.learning_rate")) for word in by_files)
    own = replace(plan, protocol=replace(plan.protocol, methods={"tuned": replace(method, learning_rate=2e-5)}))
    assert choose(own, own.tuning())["push", "tuned"] == 2e-5
    tried = words(plan.final({("hopper", "tuned"): 1e-3})["hopper", "tuned"][0])
    assert {"algo.clip_range=0.5", "algo.learning_rate=0.001"} <= set(tried)


def test_a_recipe_with_a_rate_of_its_own_is_not_tuned(tmp_path: Path) -> None:
    fixed = Method("fixed", "dppo", base="flow", settings=("num_worlds=40",), learning_rate=2e-5)
    made = planner(tmp_path)
    protocol = Protocol(made.protocol.tasks, made.protocol.bases, {"fixed": fixed, "plain": PLAIN})
    plan = Planner(protocol, made.budget, tmp_path)
    trials = plan.tuning()
    assert set(trials) == {("hopper", "plain")}
    rates = choose(plan, trials)
    assert rates == {("hopper", "fixed"): 2e-5, ("push", "fixed"): 2e-5}
    run = plan.final(rates)["hopper", "fixed"][0]
    assert "algo.learning_rate=2e-05" in words(run)
    assert words(run).index("num_worlds=4") < words(run).index("num_worlds=40")  # the method's settings go last


def finish(job: Job, heights: dict[str, float]) -> None:
    """Pretend that a job has run: what it writes is as high as its learning rate says."""
    kind, arguments = words(job)[0], words(job)
    height = next((h for rate, h in heights.items() if f"algo.learning_rate={rate}" in arguments), 1.0)
    if kind == "evaluate":
        job.folder.mkdir(parents=True)
        metrics = {"return": {"mean": 5.0}, "success": {"mean": 0.5}}
        job.out.write_text(json.dumps({"metrics": metrics}))
    else:
        job.out.mkdir(parents=True)
        record = {"step": 100, "collect_seconds": 1.0, "decide_seconds": 0.5, "update_seconds": 2.0}
        record |= {"episode/return": height, "episode/success": height}
        (job.out / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    job.log.write_text(json.dumps({"return": 4.0, "success": 0.25}) + "\n")
    job.record.write_text("{}")


def test_the_best_rate_wins_and_the_rest_follows(tmp_path: Path) -> None:
    plan = planner(tmp_path)
    batches: list[list[Job]] = []

    def run(jobs: list[Job]) -> None:
        batches.append(jobs)
        for job in unique(jobs).values():
            if not job.done:
                finish(job, {"0.0001": 1.0, "0.001": 3.0})

    rates = execute(plan, run)
    assert rates == dict.fromkeys([("hopper", "plain"), ("hopper", "tuned"), ("push", "tuned")], 1e-3)
    assert not any("/final/" in job.name for job in batches[0])
    assert not any("tuning" in job.name for job in batches[1])
    assert sum(words(job)[0] == "evaluate" for job in batches[1]) == 2 * (2 + 3 * 2)  # bases, then methods x seeds
    trained = [job.name for job in batches[1] if words(job)[0] == "train" and "/final/" in job.name]
    assert [name[-1] for name in trained] == ["0"] * 3 + ["1"] * 3  # a seed of every method, then the next
    found = collect(plan, rates)
    (first, second) = found.runs["hopper", "tuned"]
    assert (first.seed, second.seed) == (0, 1)
    assert (first.auc, first.to_threshold, first.reached) == (3.0, 100.0, True)
    assert (first.simulate, first.denoise, first.update, first.deterministic) == (0.5, 0.5, 2.0, 5.0)
    assert found.runs["push", "tuned"][0].stochastic == 0.5
    start = found.starts["push", "flow"]
    assert (start.demos, start.deterministic, start.passed) == (0.25, 0.5, True)


@pytest.mark.parametrize("rates", [(1e-4, 1e-3), (1e-3,)])
def test_where_nothing_was_run_nothing_is_known(tmp_path: Path, rates: tuple[float, ...]) -> None:
    plan = planner(tmp_path, rates)
    chosen = choose(plan, plan.tuning())
    assert len(chosen) == (0 if len(rates) > 1 else 3)
    found = collect(plan, chosen)
    assert not found.starts and not any(found.runs.values())


def test_a_failed_trial_is_not_chosen(tmp_path: Path) -> None:
    plan = planner(tmp_path, tasks=(HOPPER,))
    trials = plan.tuning()
    for runs in trials.values():
        finish(runs[0][0], {})
    assert set(choose(plan, trials).values()) == {1e-4}
