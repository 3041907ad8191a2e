from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sim2real import manifest as m
from sim2real import verify as v
from sim2real.deployed import DeployedPolicy
from sim2real.export import export_policy, to_onnx
from sim2real.inference import CONTRACT_KEY
from sim2real.recording import Recording

from .test_manifest import edit
from .toys import Agent, make_agent

Copy = Callable[[Path], Path]


def results(report: v.Report) -> dict[str, bool | None]:
    return {check.name: check.passed for check in report.checks}


def why(report: v.Report, name: str) -> str:
    return next(check.detail for check in report.checks if check.name == name)


def rehash(bundle: Path) -> None:
    """Cover the traces of a changed file in the manifest, as a careless tool might."""
    infos = {name: dataclasses.asdict(m.file_info(bundle / name)) for name in ("policy.onnx", "golden.npz")}
    edit(bundle, lambda d: d.update(files=infos), reseal=True)


@pytest.mark.parametrize("kind", ["mlp", "gru", "flow"])
def test_a_good_bundle_passes(kind: str, request: pytest.FixtureRequest):
    agent: Agent = request.getfixturevalue(f"{kind}_agent")
    bundle: Path = request.getfixturevalue(f"{kind}_bundle")
    alone = v.verify_bundle(bundle)
    assert alone.passed and all(results(alone).values()), alone.checks
    assert 0 < alone.latency_us["p50"] <= alone.latency_us["p99"]
    reference = DeployedPolicy(agent.policy, agent.normalizer, agent.spec)
    full = v.verify_bundle(bundle, reference, agent.recording(64, 64, seed=9))
    assert full.passed and set(results(full)) - set(results(alone)) == {"contract", "parity"}
    assert "4096 observations" in why(full, "parity")
    assert full.to_dict()["passed"] is True


def test_a_flipped_byte(mlp_bundle: Path, copy_of: Copy):
    bundle = copy_of(mlp_bundle)
    data = bytearray((bundle / "policy.onnx").read_bytes())
    position = data.index(b"policy.actor.0.weight") - 40  # within the raw data of the tensor before, or its own
    data[position] ^= 0x40
    (bundle / "policy.onnx").write_bytes(data)
    report = v.verify_bundle(bundle)
    assert not report.passed and "policy.onnx was changed after the export" in why(report, "files")


def test_a_changed_weight_with_new_hashes(mlp_bundle: Path, copy_of: Copy):
    bundle = copy_of(mlp_bundle)
    proto = onnx.load(bundle / "policy.onnx")
    weight = next(t for t in proto.graph.initializer if t.name.endswith("actor.0.weight"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(proto, bundle / "policy.onnx")
    rehash(bundle)
    report = v.verify_bundle(bundle)
    assert [check.name for check in report.failures] == ["golden vectors"]
    assert "it is not the network that was exported" in why(report, "golden vectors")


def test_an_edited_manifest(mlp_bundle: Path, copy_of: Copy):
    bundle = copy_of(mlp_bundle)
    edit(bundle, lambda d: d["contract"]["robot"].update(kp=[35.0, 45.0]))
    report = v.verify_bundle(bundle)
    assert results(report)["seal"] is False and "manifest.json was changed" in why(report, "seal")
    edit(bundle, lambda d: None, reseal=True)
    report = v.verify_bundle(bundle)  # the seal fits again, the network's copy of the contract does not
    assert [check.name for check in report.failures] == ["network"]
    assert "exported under another contract (joints, gains" in why(report, "network")


def swap_joints(data: dict[str, Any]) -> None:
    for part in (data["contract"]["action"], data["contract"]["robot"]):
        for key, value in part.items():
            if isinstance(value, list) and len(value) == 2 and key not in ("names", "joint_names"):
                part[key] = value[::-1]


def test_two_swapped_joints(mlp_bundle: Path, copy_of: Copy):
    bundle = copy_of(mlp_bundle)
    edit(bundle, swap_joints, reseal=True)
    report = v.verify_bundle(bundle)
    assert results(report)["network"] is False
    assert "offset, scale or limits of" in why(report, "action scaling")
    proto = onnx.load(bundle / "policy.onnx")  # now forge the contract's hash in the network as well
    entry = next(p for p in proto.metadata_props if p.key == CONTRACT_KEY)
    entry.value = m.Manifest.read(bundle).contract.sha256()
    onnx.save(proto, bundle / "policy.onnx")
    rehash(bundle)
    report = v.verify_bundle(bundle)
    assert {check.name for check in report.failures} == {"action scaling", "limits", "extremes"}


def test_noise_of_another_seed(flow_bundle: Path, copy_of: Copy):
    """Golden vectors that were made with other noise than they hold."""
    bundle = copy_of(flow_bundle)
    with np.load(bundle / "golden.npz") as file:
        arrays = dict(file)
    assert arrays["noise"].shape == (1, 64, 1, 4, 2) and arrays["obs"].shape == (1, 64, 3, 9)
    np.savez(bundle / "golden.npz", **arrays | {"noise": arrays["noise"][:, ::-1]})
    rehash(bundle)
    assert [check.name for check in v.verify_bundle(bundle).failures] == ["golden vectors"]
    np.savez(bundle / "golden.npz", **{name: x for name, x in arrays.items() if name != "noise"})
    rehash(bundle)
    assert "noise is missing" in why(v.verify_bundle(bundle), "golden vectors")


@pytest.mark.parametrize("name", ["policy.onnx", "golden.npz", "manifest.json"])
def test_a_missing_file(name: str, mlp_bundle: Path, copy_of: Copy):
    bundle = copy_of(mlp_bundle)
    (bundle / name).unlink()
    report = v.verify_bundle(bundle)
    assert not report.passed
    assert any(name in check.detail for check in report.checks if check.passed is False)
    assert all(check.passed is not True for check in report.checks if check.name == "golden vectors")


def test_another_network_of_the_same_shape(mlp_bundle: Path, copy_of: Copy):
    bundle, other = copy_of(mlp_bundle), make_agent("mlp", seed=7)
    (bundle / "policy.onnx").write_bytes(to_onnx(DeployedPolicy(other.policy, other.normalizer, other.spec)))
    assert "policy.onnx" in why(v.verify_bundle(bundle), "files")
    rehash(bundle)
    report = v.verify_bundle(bundle)
    assert [check.name for check in report.failures] == ["golden vectors"]


def test_another_bundle_is_not_the_checkpoints(mlp_agent: Agent, tmp_path: Path):
    other = make_agent("mlp", seed=7)
    export_policy(other.policy, other.normalizer, other.spec, tmp_path / "b", other.recording())
    reference = DeployedPolicy(mlp_agent.policy, mlp_agent.normalizer, mlp_agent.spec)
    report = v.verify_bundle(tmp_path / "b", reference, mlp_agent.recording())
    assert [check.name for check in report.failures] == ["parity"]
    assert "torch and onnxruntime differ by" in why(report, "parity")
    spec = dataclasses.replace(mlp_agent.spec, control_dt=0.04)
    report = v.verify_bundle(tmp_path / "b", DeployedPolicy(other.policy, other.normalizer, spec), other.recording())
    assert [check.name for check in report.failures] == ["contract"]
    assert why(report, "contract") == "the bundle and the checkpoint differ in task, decision"


def test_rubbish_is_reported_not_raised(mlp_bundle: Path, copy_of: Copy, tmp_path: Path):
    bundle = copy_of(mlp_bundle)
    (bundle / "policy.onnx").write_bytes(b"not a network")
    (bundle / "golden.npz").write_bytes(b"not an archive")
    report = v.verify_bundle(bundle)
    assert results(report)["network"] is False and results(report)["golden vectors"] is None
    assert "is no bundle" in why(v.verify_bundle(tmp_path / "nowhere"), "manifest")


def test_pickles_are_refused(mlp_bundle: Path, copy_of: Copy):
    bundle = copy_of(mlp_bundle)
    np.savez(bundle / "golden.npz", obs=np.array([{"a": 1}], dtype=object))
    report = v.verify_bundle(bundle)
    assert results(report)["golden vectors"] is False and "allow_pickle=False" in why(report, "golden vectors")


class FakeNetwork:
    """A network of the toy's contract that computes what a test wants."""

    def __init__(self, bundle: Path, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.contract = m.Manifest.read(bundle).contract
        self._function = function

    def replay(self, inputs: Recording) -> tuple[np.ndarray, np.ndarray]:
        command = self._function(inputs.obs)
        return command, command


def _golden(bundle: Path) -> Recording:
    return v.read_golden(bundle, m.Manifest.read(bundle)).inputs


def test_a_random_network_is_not_repeatable(mlp_bundle: Path):
    rng = np.random.default_rng(0)
    network = FakeNetwork(mlp_bundle, lambda obs: rng.normal(size=(*obs.shape[:3], 2)))
    with pytest.raises(v.Failed, match="draws random numbers"):
        v.check_repeatable(network, _golden(mlp_bundle))  # type: ignore[arg-type]


def test_rows_that_see_each_other_are_noticed(mlp_bundle: Path):
    network = FakeNetwork(mlp_bundle, lambda obs: obs[..., :2] - obs[..., :2].mean(axis=1, keepdims=True))
    with pytest.raises(v.Failed, match="a row alone and in a batch differ"):
        v.check_batch(network, _golden(mlp_bundle), 1e-5)  # type: ignore[arg-type]


def test_extremes_must_be_finite_and_within_limits(mlp_bundle: Path):
    finite = FakeNetwork(mlp_bundle, lambda obs: np.clip(obs[..., :2], [-1.0, -2.0], [1.0, -0.5]))
    assert "finite" in v.check_extremes(finite)  # type: ignore[arg-type]
    with np.errstate(all="ignore"):
        broken = FakeNetwork(mlp_bundle, lambda obs: np.clip(obs[..., :2] * 0 + np.exp(obs[..., :2]) * 0, -1, 1))
        with pytest.raises(v.Failed, match=r"magnitude 100 give a command that is not finite"):
            v.check_extremes(broken)  # type: ignore[arg-type]
    beyond = FakeNetwork(mlp_bundle, lambda obs: np.clip(obs[..., :2], [-1.0, -2.0], [1.0, -0.25]))
    with pytest.raises(v.Failed, match=r"'knee' is commanded 0\.25 rad beyond its limit"):
        v.check_extremes(beyond)  # type: ignore[arg-type]


def test_a_bundle_alone_is_verified_without_torch(gru_bundle: Path, tmp_path: Path):
    bundle = shutil.copytree(gru_bundle, tmp_path / "b")
    code = (
        "import sys; sys.modules['torch'] = None; from sim2real.verify import verify_bundle; "
        "raise SystemExit(0 if verify_bundle(sys.argv[1]).passed else 1)"
    )
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code, str(bundle)], cwd=root, check=False).returncode == 0
