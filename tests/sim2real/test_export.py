from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from embodied.types import Decision
from policies.mlp import MLPPolicy
from sim2real.deployed import DeployedPolicy
from sim2real.export import ExportError, export_policy, to_onnx
from sim2real.inference import OnnxPolicy
from sim2real.manifest import Manifest

from .toys import Agent, make_agent


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_the_export_does_what_torch_does(kind: str, request: pytest.FixtureRequest):
    """Against an implementation of its own: the learner's normaliser and policy, the scaling by hand in float64."""
    agent: Agent = request.getfixturevalue(f"{kind}_agent")
    bundle: Path = request.getfixturevalue(f"{kind}_bundle")
    recording = agent.recording(steps=64, rows=64, seed=5)
    assert recording.count == 4096
    expected, memory = [], agent.policy.initial_memory(64)
    with torch.no_grad():
        for obs, start in zip(recording.obs, recording.start, strict=True):
            memory = {key: value * torch.tensor(~start)[:, None] for key, value in memory.items()}
            seen = agent.normalizer({"policy": torch.tensor(obs[:, 0]), "critic": torch.randn(64, 3)})
            decision = agent.policy.act(seen, memory, deterministic=True)
            memory = decision.memory
            expected.append(np.clip(decision.action.double().numpy(), -3, 3))
    command = np.clip([0.1, -1.5] + np.array([0.25, 0.5]) * np.stack(expected), [-1.0, -2.0], [1.0, -0.5])
    contract = Manifest.read(bundle).contract
    found = OnnxPolicy(bundle / "policy.onnx", contract).replay(recording)
    assert np.abs(found[0] - command).max() <= 1e-5
    assert np.abs(found[1] - np.stack(expected)).max() <= 1e-5


def test_the_bundle_is_three_files_and_states_its_evidence(gru_bundle: Path):
    assert sorted(path.name for path in gru_bundle.iterdir()) == ["golden.npz", "manifest.json", "policy.onnx"]
    manifest = Manifest.read(gru_bundle)
    assert (manifest.golden.steps, manifest.golden.rows) == (16, 4)
    assert manifest.parity.observations == 512 and manifest.parity.max_abs_command <= 1e-5
    assert [(memory.input, memory.output, memory.shape) for memory in manifest.contract.model.memory] == [
        ("h_in", "h_out", (12,))
    ]


def test_the_network_holds_the_actor_alone_and_no_paths(mlp_bundle: Path):
    path = mlp_bundle / "policy.onnx"
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    names = [tensor.name for tensor in proto.graph.initializer]
    assert any("actor" in name for name in names) and not any("critic" in name or "std" in name for name in names)
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == 20
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in proto.graph.initializer)
    assert str(Path(__file__).parent.parent).encode() not in path.read_bytes() and b".py" not in path.read_bytes()


def test_the_same_weights_give_the_same_bytes(mlp_agent: Agent, mlp_bundle: Path):
    again = to_onnx(DeployedPolicy(mlp_agent.policy, mlp_agent.normalizer, mlp_agent.spec))
    assert again == (mlp_bundle / "policy.onnx").read_bytes()


def test_a_bundle_is_replaced_only_when_asked(mlp_agent: Agent, tmp_path: Path):
    def export(out: Path, **options: Any) -> Manifest:
        agent = mlp_agent
        return export_policy(agent.policy, agent.normalizer, agent.spec, out, agent.recording(), **options)

    out = tmp_path / "deep" / "bundle"
    export(out)
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="already holds a bundle"):
        export(out)
    assert (out / "manifest.json").read_bytes() == before
    export(out, force=True, provenance={"take": 2})
    assert Manifest.read(out).provenance == {"take": 2}
    (tmp_path / "notes").mkdir()
    with pytest.raises(FileExistsError, match="is no bundle"):
        export(tmp_path / "notes", force=True)
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]  # nothing temporary stays


class Noisy(MLPPolicy):
    """Draws even when asked not to."""

    def act(self, obs: Any, memory: Any = None, deterministic: bool = False) -> Decision:
        return super().act(obs, memory, deterministic=False)


class Branching(MLPPolicy):
    """Decides by a value of the data, which a graph cannot hold."""

    def mean(self, obs: dict[str, Tensor]) -> Tensor:
        return super().mean(obs) if float(obs["policy"].sum()) > 0 else -super().mean(obs)


class Counting(MLPPolicy):
    """Counts its rows in Python, where the tracer cannot see that there may be others."""

    def mean(self, obs: dict[str, Tensor]) -> Tensor:
        return super().mean(obs) * torch.ones(len(obs["policy"]), 1, 1)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Noisy, "the export does not verify: .*"),
        (Branching, "cannot be traced"),
        (Counting, r"another graph: the network's inputs are obs \(2, 1, 9\), the manifest says obs \(batch, 1, 9\)"),
    ],
)
def test_a_policy_that_cannot_be_exported_leaves_nothing(cls: type, message: str, mlp_agent: Agent, tmp_path: Path):
    policy = cls(mlp_agent.spec)
    with pytest.raises(ExportError, match=message):
        export_policy(policy, mlp_agent.normalizer, mlp_agent.spec, tmp_path / "b", mlp_agent.recording())
    assert list(tmp_path.iterdir()) == []


def test_a_normaliser_may_be_a_function(mlp_agent: Agent, tmp_path: Path):
    spec = dataclasses.replace(mlp_agent.spec, robot=None)
    policy = make_agent("mlp", seed=3).policy
    manifest = export_policy(policy, lambda obs: obs, spec, tmp_path / "b", mlp_agent.recording())
    assert manifest.contract.robot is None and manifest.parity.max_abs_command <= 1e-5
