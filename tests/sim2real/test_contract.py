from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from embodied.types import ActionSpec, ObsGroup, ObsTerm, RobotSpec
from envs.chunking import chunked_spec
from sim2real import contract as c
from sim2real.contract import contract_of
from sim2real.schema import SchemaError

from .toys import ROBOT, make_spec


def model(history: int = 1, chunk: int = 1, noise: c.NoiseInfo | None = None) -> c.Model:
    """A network for the toy's 9 observations and 2 actions."""
    obs = c.TensorInfo("obs", ("batch", history, 9), "float32")
    drawn = () if noise is None else (c.TensorInfo("noise", ("batch", *noise.shape), "float32"),)
    outputs = tuple(c.TensorInfo(name, ("batch", chunk, 2), "float32") for name in ("command", "action"))
    return c.Model("policy.onnx", 20, (obs, *drawn), outputs, noise, ())


@dataclass
class Changed:
    """A contract of which one part is another."""

    contract: c.Contract

    def decision(self, **changes: Any) -> c.Contract:
        return replace(self.contract, decision=replace(self.contract.decision, **changes))

    def model(self, **changes: Any) -> c.Contract:
        return replace(self.contract, model=replace(self.contract.model, **changes))

    def noise(self, **changes: Any) -> c.Contract:
        assert self.contract.model.noise is not None
        return self.model(noise=replace(self.contract.model.noise, **changes))


def test_contract_carries_the_task():
    contract = contract_of(make_spec(), model())
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
    assert contract.decision == c.Decision(period=0.02, history=1, chunk=1, execute=1)
    assert contract.command_ranges == {"forward": (-0.5, 1.0)}


def test_chunks_and_histories_are_counted_in_control_steps():
    spec = chunked_spec(make_spec(), chunk=4, history=3)
    contract = contract_of(spec, model(history=3, chunk=4))
    assert contract.decision == c.Decision(period=0.08, history=3, chunk=4, execute=4)
    assert (contract.task.control_dt, contract.task.horizon) == (0.02, 125)  # the latter in decisions
    assert (contract.obs_size, contract.obs_shape, contract.action_shape) == (9, (3, 9), (4, 2))


NOISE = c.NoiseInfo("noise", (2, 4, 2), "normal", 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.decision(history=2), r"obs has shape \('batch', 3, 9\), the observation \('batch', 2, 9\)"),
        (lambda d: d.decision(history=0), "history must be at least 1"),
        (lambda d: d.decision(chunk=5), r"command has shape \('batch', 4, 2\), the decision \('batch', 5, 2\)"),
        (lambda d: d.decision(execute=5, period=0.1), "execute: 5 of a chunk of 4"),
        (lambda d: d.decision(execute=0, period=0.0), "execute: 0 of a chunk of 4"),
        (lambda d: d.decision(period=0.02), r"period: 0\.02 s, but 4 commands last 0\.08 s"),
        (lambda d: d.model(noise=None), "inputs must be obs"),
        (lambda d: d.noise(shape=(2, 4, 3)), r"noise has shape \('batch', 2, 4, 2\)"),
        (lambda d: d.noise(law="uniform"), "law: 'uniform' is not known; valid: normal"),
        (lambda d: d.noise(scale=-1.0), "scale must not be negative"),
    ],
)
def test_parts_of_a_decision_must_agree(change: Callable[[Changed], c.Contract], message: str):
    spec = chunked_spec(make_spec(), chunk=4, history=3)
    contract = contract_of(spec, model(history=3, chunk=4, noise=NOISE))
    with pytest.raises(SchemaError, match=message):
        c.check_sizes(change(Changed(contract)))


def test_fewer_actions_than_a_chunk_may_be_executed():
    contract = contract_of(chunked_spec(make_spec(), 4, 3), model(history=3, chunk=4))
    c.check_sizes(Changed(contract).decision(execute=2, period=0.04))


@pytest.mark.parametrize(("ours", "theirs", "added"), [(c.Robot, RobotSpec, set()), (c.Term, ObsTerm, {"start"})])
def test_the_manifest_keeps_up_with_the_task_spec(ours: type, theirs: type, added: set[str]):
    assert {f.name for f in dataclasses.fields(ours)} == {f.name for f in dataclasses.fields(theirs)} | added


def test_defaults_of_an_action_are_filled_in():
    action = ActionSpec(("a", "b"), low=-1.0, high=2.0, scale=(3.0, -1.0))
    contract = contract_of(make_spec(action=action, robot=None), model())
    assert contract.action.offset == (0.0, 0.0)
    assert contract.action.command_low == (-3.0, -2.0) and contract.action.command_high == (6.0, 1.0)


def test_an_unbounded_action_has_no_limits():
    contract = contract_of(make_spec(action=ActionSpec(("a", "b")), robot=None), model())
    assert contract.action.command_low is None and contract.action.scale == (1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": {"critic": ObsGroup.of(ObsTerm("x", 9))}}, "no observation group 'policy'"),
        ({"obs": {"policy": ObsGroup(shape=(3, 64, 64))}}, "no observation group 'policy' with named terms"),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 4), ObsTerm("x", 5))}}, "a term's name appears twice"),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 9, names=("a",)))}}, "1 names for 9"),
        (
            {"obs": {"policy": ObsGroup.of(ObsTerm("x", 8))}},
            r"obs has shape \('batch', 1, 9\), the observation \('batch', 1, 8\)",
        ),
        ({"obs": {"policy": ObsGroup.of(ObsTerm("x", 9, parameters={"f": float("nan")}))}}, "not JSON compliant"),
        (
            {"obs": {"policy": make_spec().obs["policy"], "image": ObsGroup(shape=(8, 8, 3))}},
            "observes images .* float32",
        ),
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
        contract_of(spec, model())
