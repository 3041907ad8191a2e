from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embodied.types import ActionSpec, ObsGroup, ObsTerm, RobotSpec
from sim2real import manifest as m
from sim2real.schema import SchemaError

from .toys import ROBOT, make_spec

MODEL = m.Model("policy.onnx", 20, (m.TensorInfo("obs", ("batch", 9), "float32"),), (), ())
Edit = Callable[[dict[str, Any]], None]


def edit(bundle: Path, change: Edit, reseal: bool = False) -> None:
    """Change the manifest's JSON; ``reseal`` covers the traces in the manifest itself."""
    data = json.loads((bundle / m.FILE).read_text())
    change(data)
    (bundle / m.FILE).write_text(json.dumps(data))
    if reseal:
        m.Manifest.read(bundle).sealed().write(bundle)


def test_contract_carries_the_task():
    contract = m.contract_of(make_spec(), MODEL)
    assert [(t.name, t.start, t.size) for t in contract.observation] == [
        ("joint_pos", 0, 2),
        ("joint_vel", 2, 2),
        ("command", 4, 1),
        ("last_action", 5, 2),
        ("gait_clock", 7, 2),
    ]
    assert contract.observation[1].scale == 0.05 and contract.observation[1].unit == "rad/s"
    assert contract.observation[4].parameters == {"frequency": 2.0, "offset": 0.25, "dead_band": 0.1, "settle_s": 0.0}
    assert contract.action.offset == (0.1, -1.5) and contract.action.command_high == (1.0, -0.5)
    assert contract.robot is not None and contract.robot.sdk_index == (1, 0) and contract.robot.kp == (35.0, 40.0)
    assert (contract.task.control_dt, contract.task.physics_dt) == (0.02, 0.005)
    assert contract.command_ranges == {"forward": (-0.5, 1.0)}


@pytest.mark.parametrize(("ours", "theirs", "added"), [(m.Robot, RobotSpec, set()), (m.Term, ObsTerm, {"start"})])
def test_the_manifest_keeps_up_with_the_task_spec(ours: type, theirs: type, added: set[str]):
    assert {f.name for f in dataclasses.fields(ours)} == {f.name for f in dataclasses.fields(theirs)} | added


def test_defaults_of_an_action_are_filled_in():
    action = ActionSpec(("a", "b"), low=-1.0, high=2.0, scale=(3.0, -1.0))
    contract = m.contract_of(make_spec(action=action, robot=None), MODEL)
    assert contract.action.offset == (0.0, 0.0)
    assert contract.action.command_low == (-3.0, -2.0) and contract.action.command_high == (6.0, 1.0)


def test_an_unbounded_action_has_no_limits():
    contract = m.contract_of(make_spec(action=ActionSpec(("a", "b")), robot=None), MODEL)
    assert contract.action.command_low is None and contract.action.scale == (1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": {"critic": ObsGroup.of(ObsTerm("x", 9))}}, "no observation group 'policy'"),
        ({"obs": {"policy": ObsGroup(shape=(3, 64, 64))}}, "no observation group 'policy' with named terms"),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 4), ObsTerm("x", 5))}}, "a term's name appears twice"),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 9, names=("a",)))}}, "1 names for 9"),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 8))}}, "terms have 8 values in all, the model takes 9"),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 9, parameters={"f": float("nan")}))}}, "not JSON compliant"),
        ({"action": ActionSpec(("a", "b"), chunk=4)}, "chunks of 4 actions"),
        ({"action": ActionSpec(("a", "b"), offset=(1.0,))}, r"action\.offset: 1 entries for 2 names"),
        ({"action": ActionSpec(("hip", "ankle"), kind="joint_position")}, r"\['ankle'\] are no joints of twin"),
        ({"robot": dataclasses.replace(ROBOT, kp=(1.0,))}, r"robot\.kp: 1 entries for 2 joint_names"),
        ({"robot": dataclasses.replace(ROBOT, sdk_index=(0, 0))}, "a motor appears twice"),
        ({"robot": dataclasses.replace(ROBOT, torque_limit=(1.0, 0.0))}, "limits must be positive"),
        ({"robot": dataclasses.replace(ROBOT, joint_high=(1.0, float("inf")))}, "not JSON compliant"),
        ({"control_dt": 0.0}, "control_dt must be positive"),
    ],
)
def test_a_task_that_cannot_be_described_is_refused(changes: dict[str, Any], message: str):
    spec = dataclasses.replace(make_spec(), **changes)
    with pytest.raises(ValueError, match=message):
        m.contract_of(spec, MODEL)


def test_a_manifest_reads_back_with_every_digit(mlp_bundle: Path, mlp_agent: Any):
    manifest = m.Manifest.read(mlp_bundle)
    spec = mlp_agent.spec
    assert manifest.contract == m.contract_of(spec, manifest.contract.model)
    assert manifest.provenance == {"commit": "abc"}
    assert m.check_seal(manifest) == manifest.sha256
    assert m.check_files(manifest, mlp_bundle) == "2 files"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("contract"), "missing key 'contract'"),
        (lambda d: d["contract"]["action"].pop("scale"), r"manifest\.contract\.action: missing key 'scale'"),
        (lambda d: d["contract"]["action"]["scale"].pop(), r"action\.scale: 1 entries for 2 names"),
        (lambda d: d["contract"]["observation"].pop(1), "starts at 4, the term before ends at 2"),
        (lambda d: d["contract"]["observation"].pop(), "terms have 7 values in all, the model takes 9"),
        (lambda d: d["contract"]["robot"]["kp"].append(1.0), r"robot\.kp: 3 entries"),
        (lambda d: d.update(format_version=2), "format version 2; this program reads 1"),
        (lambda d: d.update(format="zip"), "format is 'zip'"),
    ],
)
def test_a_manifest_of_another_form_is_refused(mlp_bundle: Path, copy_of: Any, change: Edit, message: str):
    bundle = copy_of(mlp_bundle)
    edit(bundle, change)
    with pytest.raises(SchemaError, match=message):
        m.Manifest.read(bundle)


def test_no_manifest(tmp_path: Path):
    with pytest.raises(SchemaError, match=r"is no bundle: it has no manifest\.json"):
        m.Manifest.read(tmp_path)


def test_an_edit_breaks_the_seal(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    edit(bundle, lambda d: d["contract"]["robot"].update(kp=[35.0, 45.0]))
    with pytest.raises(SchemaError, match=r"manifest\.json was changed after the export"):
        m.check_seal(m.Manifest.read(bundle))


def test_files_are_checked(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    manifest = m.Manifest.read(bundle)
    (bundle / "policy.onnx.data").write_bytes(b"stale weights")
    with pytest.raises(SchemaError, match=r"does not list: policy\.onnx\.data"):
        m.check_files(manifest, bundle)
    (bundle / "golden.npz").unlink()
    with pytest.raises(SchemaError, match=r"golden\.npz is missing"):
        m.check_files(manifest, bundle)
    onnx = bytearray((bundle / "policy.onnx").read_bytes())
    onnx[-40] ^= 1
    (bundle / "policy.onnx").write_bytes(onnx)
    with pytest.raises(SchemaError, match=r"policy\.onnx was changed"):
        m.check_files(manifest, bundle)
    (bundle / "policy.onnx").write_bytes(onnx[:-1])
    with pytest.raises(SchemaError, match=r"policy\.onnx has \d+ bytes"):
        m.check_files(manifest, bundle)


def test_a_file_without_a_hash_is_noticed(mlp_bundle: Path, copy_of: Any):
    bundle = copy_of(mlp_bundle)
    edit(bundle, lambda d: d["files"].pop("golden.npz"), reseal=True)
    with pytest.raises(SchemaError, match=r"golden\.npz has no hash"):
        m.check_files(m.Manifest.read(bundle), bundle)
