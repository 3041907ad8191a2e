"""The benchmark of generative policies compares like with like, and its bars point the right way."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import generative

SMALL = argparse.Namespace(num_steps=3, num_epochs=1, num_minibatches=2, rounds=2)


@pytest.fixture(scope="module")
def env() -> generative.Replay:
    return generative.recorded("hopper", chunk=4, rows=4, steps=3)


def test_every_policy_meets_the_same_observations(env: generative.Replay) -> None:
    seen = []
    for _ in range(2):
        obs = env.reset()
        steps = [env.step(torch.randn(4, 4, 3)) for _ in range(3)]
        seen.append(torch.stack([obs["policy"], *(step.obs["policy"] for step in steps)]))
        assert [step.reward.shape for step in steps] == [(4,)] * 3
    assert torch.equal(*seen) and seen[0].std(0).min() > 0


def test_networks_of_a_ratio_have_the_same_widths(env: generative.Replay) -> None:
    made = {name: generative.make_policy(kind, env.spec, *more) for name, (kind, *more) in generative.UPDATE.items()}

    def widths(policy: Any) -> list[int]:
        net = policy.actor if hasattr(policy, "actor") else policy.network
        layers = [layer for layer in net.modules() if isinstance(layer, torch.nn.Linear)]
        return sorted({layer.out_features for layer in layers} - {12, 16, 32})  # without outputs and time embedding

    for pair, bar in generative.RATIOS.items():
        if bar is not None:
            assert widths(made[pair[0]]) == widths(made[pair[1]]), pair
    steps = {name: policy.process.steps for name, policy in made.items() if name != "mlp"}
    assert steps == {name: int(name.split("K=")[1].split(",")[0]) for name in steps}
    assert made["dppo K=20"].steps == 20 and made["dppo K=20, 10 tuned"].steps == 10
    assert made["flow_sde K=4, one random"].config.random_steps == "one"


def test_rounds_take_turns(env: generative.Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    chosen = {"mlp": ("mlp",), "ncdpo K=5": generative.UPDATE["ncdpo K=5"]}
    monkeypatch.setattr(generative, "UPDATE", chosen)

    def make_update(env: Any, policy: Any, args: Any) -> Any:
        return lambda: calls.append(type(policy).__name__)

    monkeypatch.setattr(generative, "make_update", make_update)
    seconds = generative.updates(env, SMALL)
    assert calls == ["MLPPolicy", "NCDPOPolicy"] * 2 + ["NCDPOPolicy", "MLPPolicy"]
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_an_update_learns_from_the_whole_recording(env: generative.Replay) -> None:
    policy = generative.make_policy("ncdpo", env.spec)
    before = [parameter.clone() for parameter in policy.parameters()]
    figures = generative.make_update(env, policy, SMALL)()
    assert figures["minibatches"] == 2 and abs(figures["kl"]) < 1e-6
    moved = [not torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True)]
    assert any(moved)


def test_the_bars(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = {"reinflow K=4": [1.0, 1.0, 9.0], "dppo K=4": [1.0] * 3, "dppo K=20": [4.0] * 3}
    seconds |= {"dppo K=20, 10 tuned": [2.0] * 3, "ncdpo K=5": [3.0] * 3, "mlp": [1.0] * 3}
    seconds |= {"flow_sde K=4": [2.0] * 3, "flow_sde K=4, one random": [1.0] * 3}
    bars = generative.summarise({"flow K=4": {"p50": 0.4}, "mlp": {"p50": 0.1}}, seconds)["bars"]
    assert {name: (bar["value"], bar["holds"]) for name, bar in bars.items()} == {
        "latency / flow K=4": (0.4, True),
        "reinflow K=4 / dppo K=20": (0.25, True),  # medians of the rounds' ratios: one slow round counts little
        "reinflow K=4 / dppo K=4": (1.0, True),
        "ncdpo K=5 / mlp": (3.0, False),
    }
    assert "reinflow K=4 / dppo K=20, 10 tuned: 0.5x" in capsys.readouterr().out


@pytest.mark.slow
def test_a_tiny_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    monkeypatch.setattr(generative, "WARMUP", 1)
    out = tmp_path / "generative.json"
    size = ["--worlds", "4", "--num-steps", "3", "--num-minibatches", "2", "--num-epochs", "1"]
    generative.main([*size, "--calls", "4", "--rounds", "2", "--out", str(out)])
    results = json.loads(out.read_text())
    flow = results["latency_ms"]["flow K=4"]
    assert flow["calls"] == 4 and 0 < flow["p50"] <= flow["p99"]
    ratio = results["update_ratios"]["ncdpo K=5 / mlp"]
    seconds = {name: results["update_seconds"][name]["rounds"] for name in ("ncdpo K=5", "mlp")}
    np.testing.assert_allclose(ratio["rounds"], np.divide(seconds["ncdpo K=5"], seconds["mlp"]))
    assert len(results["bars"]) == 4
