"""The benchmarks run, compare like with like, and say whether a bar holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import common, learner, throughput
from benchmarks.peers.learner_worker import Job


def test_report_knows_both_directions(capsys: pytest.CaptureFixture[str]) -> None:
    assert common.report("speed", 2.0, 2.0)["holds"] and not common.report("speed", 1.9, 2.0)["holds"]
    assert common.report("memory", 1.0, 2.0, at_most=True)["holds"]
    assert not common.report("memory", 3.0, 2.0, at_most=True)["holds"]
    assert capsys.readouterr().out.count("MISSED") == 2


def test_spread_and_memory() -> None:
    assert common.spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "rounds": [3.0, 1.0, 2.0]}
    memory = common.memory_mb()
    block = np.ones(40_000_000)  # 320 MB
    assert common.memory_mb()["now"] - memory["now"] == pytest.approx(320, abs=40)
    del block
    assert common.memory_mb()["peak"] >= memory["now"] + 280


def test_rounds_alternate() -> None:
    calls: list[str] = []

    def side(name: str, seconds: float) -> Any:
        return lambda: calls.append(name) or seconds  # type: ignore[func-returns-value]

    begun: list[int] = []
    rates = common.rounds({"a": side("a", 2.0), "b": side("b", 4.0)}, 3, 8, begun.append)
    assert calls == ["a", "b", "b", "a", "a", "b"] and rates == {"a": [4.0] * 3, "b": [2.0] * 3}
    assert begun == [0, 1, 2]


def test_throughput_of_a_small_batch(tmp_path: Path) -> None:
    out = tmp_path / "throughput.json"
    arguments = ["--task", "half_cheetah", "--worlds", "4", "--threads", "1", "--steps", "3", "--rounds", "2"]
    throughput.main([*arguments, "--out", str(out)])
    result = json.loads(out.read_text())
    rates = result["raw"]["steps_per_second"]
    assert result["raw"]["task"] == "half_cheetah" and len(rates["raw"]["rounds"]) == 2
    ratio = rates["environment"]["rounds"][0] / rates["raw"]["rounds"][0]
    assert result["raw"]["ratio"]["rounds"][0] == pytest.approx(ratio)


def test_raw_physics_starts_where_the_environment_is() -> None:
    ours = throughput.Ours("half_cheetah", 3, 1, 0.5)
    ours.step(2)
    ours.match(taken=17)
    np.testing.assert_array_equal(ours.raw.bind("qpos"), ours.env.physics.field("qpos"))
    ours.step(1)
    ours.step_raw(1)  # the second of the 16 prepared actions on both sides
    np.testing.assert_array_equal(ours.raw.bind("qpos"), ours.env.physics.field("qpos"))


def _run(speed: float, mean: float, peak: float = 500.0) -> dict[str, Any]:
    figures = {"mean": mean, "low": mean - 2.0, "high": mean + 2.0}
    return {"steps_per_second": speed, "return": figures, "memory_mb": {"now": peak, "peak": peak}}


def test_learner_bars() -> None:
    bars = learner.summarise({"ours": [_run(30.0, 9.0)] * 3, "sb3": [_run(10.0, 10.0)] * 3})["bars"]
    assert bars["speed / sb3"]["value"] == 3.0 and bars["return - sb3"]["holds"]  # 1 less, within the interval of 2
    worse = learner.summarise({"ours": [_run(30.0, 7.0, 1600.0)] * 3, "sb3": [_run(20.0, 10.0)] * 3})["bars"]
    assert not any(bar["holds"] for bar in worse.values())
    runs = {"ours": [_run(1.0, x) for x in (1.0, 5.0, 9.0)], "sb3": [_run(1.0, x) for x in (2.0, 5.0, 6.0)]}
    crowded = learner.summarise(runs, alone=False)  # speeds are not judged; by hand: 0 + 1.5 + 3 of 9 pairs
    assert crowded["compared"]["sb3"]["pairs_won"] == 0.5 and crowded["median_returns"] == {"ours": 5.0, "sb3": 5.0}
    assert set(crowded["bars"]) == {"return - sb3", "memory"} and not crowded["ratios"]


def test_the_p_of_lower_returns() -> None:
    assert learner.improvement((1, 2, 3), (4, 5, 6)) == pytest.approx((0.0, 1 / 20))  # one of 6! / (3! 3!) orders


def test_a_job_rounds_to_whole_rollouts() -> None:
    assert Job("ours", "hopper", steps=1000, worlds=4, num_steps=24).iterations == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ours", "sb3", "sb3_gymnasium", "rsl_rl"])
def test_every_learner_trains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name != "ours":
        pytest.importorskip("rsl_rl" if name == "rsl_rl" else "stable_baselines3")
    from benchmarks.peers.learner_worker import run

    job = Job(name, "hopper", steps=64, worlds=4, threads=1, hidden=(8,), num_steps=8, num_epochs=1, episodes=4)
    result = run(job)
    assert result["steps"] == 64 and result["steps_per_second"] > 0 and np.isfinite(result["return"]["mean"])
