"""Generative policies as bundles: every rule, network and process in one graph or another.

That a graph's module decides as the policy does is tested for all of their combinations in ``test_deployed.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from sim2real.deployed import DeployedPolicy
from sim2real.export import export_policy
from sim2real.inference import OnnxPolicy
from sim2real.recording import Recording
from sim2real.verify import verify_bundle

from .toys import Agent, make_agent

CASES: dict[str, dict[str, Any]] = {
    "dppo-mlp-diffusion": {"diffusion": {"train_steps": 4}, "finetune_steps": 2},
    "ncdpo-transformer-diffusion": {"diffusion": {"train_steps": 6, "steps": 3, "eta": 0.5, "prediction": "v"}},
    "ncdpo-mlp-mean_flow": {"head": "softmax"},
    "reinflow-unet-flow": {},
    "flow_sde-unet-mean_flow": {},
    "fpo-transformer-shortcut": {},
    "residual-mlp-flow": {"base_chunk": 4},
}

SENSITIVE = ("dppo-mlp-diffusion",)
"""It predicts the noise: float32 alone costs it more than 1e-5 (``DeployedPolicy.rounding``)."""


def decided(agent: Agent, recording: Recording, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Actions (T, R, H, A) of the policy itself with the recording's noise, before the normaliser's eyes."""
    memory, found = agent.policy.initial_memory(recording.start.shape[1]), []
    assert recording.noise is not None
    for obs, noise, start in zip(recording.obs, recording.noise, recording.start, strict=True):
        memory = {key: x * torch.tensor(~start).view(-1, *(1,) * (x.dim() - 1)) for key, x in memory.items()}
        monkeypatch.setattr(agent.policy, "draw_noise", lambda cond, deterministic, noise=noise: torch.tensor(noise))
        with torch.no_grad():
            seen = agent.normalizer({"policy": torch.tensor(obs), "critic": torch.randn(len(obs), 3)})
            decision = agent.policy.act(seen, memory, deterministic=True)
        memory = decision.memory
        found.append(decision.action.numpy())
    return np.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_bundle_decides_as_the_policy(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kind, network, process = case.split("-")
    agent = make_agent(kind, 0, chunk=2, history=3, network=network, process=process, **CASES[case])
    recording = agent.recording(steps=64, rows=64, seed=5)
    manifest = export_policy(agent.policy, agent.normalizer, agent.spec, tmp_path / "b", recording)
    assert manifest.parity.observations == recording.count == 4096
    assert verify_bundle(tmp_path / "b").passed

    inputs = DeployedPolicy(agent.policy, agent.normalizer, agent.spec).inputs(recording)
    _, action = OnnxPolicy(tmp_path / "b" / "policy.onnx", manifest.contract).replay(inputs)
    expected = np.clip(decided(agent, inputs, monkeypatch), -3, 3)
    assert expected.std(axis=(0, 1)).min() > 0.01  # it depends on what goes in
    assert np.abs(action - expected).max() <= manifest.parity.tolerance
    assert manifest.parity.tolerance <= (1e-3 if case in SENSITIVE else 1e-4)  # by how the torch side itself rounds
    proto = onnx.load(tmp_path / "b" / "policy.onnx")
    assert not [node.op_type for node in proto.graph.node if "Random" in node.op_type]
    assert not [tensor.name for tensor in proto.graph.initializer if "critic" in tensor.name]
