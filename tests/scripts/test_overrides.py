from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from scripts import overrides
from scripts.overrides import UserError, check, expand, nearest, parse


@dataclass
class Inner:
    gamma: float = 0.9


@dataclass
class Outer:
    seed: int = 0
    algo: Inner = field(default_factory=Inner)
    task: Any = None


@pytest.fixture
def config() -> DictConfig:
    task = {"dt": 0.02, "name": "x", "noise": True, "range": [0, 1], "push": {"speed": 1.0}, "limit": None}
    made = OmegaConf.merge(OmegaConf.structured(Outer), {"task": task})
    assert isinstance(made, DictConfig)
    return made


def message(config: DictConfig, argument: str) -> str:
    with pytest.raises(UserError) as caught:
        check(config, parse([argument])[0])
    return str(caught.value)


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("--seed", "without dashes: seed="),
        ("--num-worlds=3", "without dashes: num_worlds=3"),
        ("go2_velocity", "did you mean task=go2_velocity?"),
        ("mlp", "did you mean policy=mlp?"),
        ("whatever", "settings are written key=value"),
        ("a=b=c", "quote"),
        ("a=[1", "quote"),
    ],
)
def test_what_is_no_override_is_explained(argument: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        parse([argument])
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("total_steps=2e6", 2_000_000),
        ("total_steps=1.5e3", 1500),
        ("algo.lr=1e-3", 0.001),
        ("x=1.25e1", 12.5),
        ("x=e6", "e6"),
    ],
)
def test_powers_of_ten_are_whole_numbers_where_they_can_be(argument: str, value: float | str) -> None:
    found = parse([argument])[0].value()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("sed=1", "unknown key 'sed'; did you mean 'seed'? keys: algo, seed, task"),
        ("gamma=1", "unknown key 'gamma'; did you mean 'algo.gamma'?"),
        ("algo.gama=1", "unknown key 'algo.gama'; did you mean 'algo.gamma'? keys of algo: gamma"),
        ("task.push.sped=1", "unknown key 'task.push.sped'; did you mean 'task.push.speed'?"),
        ("task.dt.x=1", "unknown key 'task.dt.x'"),
        ("task.limt=1", "(a key that is not listed there: +task.limt=...)"),
        ("+algo.new=1", "unknown key 'algo.new'"),
        ("+algo.new.inner=1", "unknown key 'algo.new.inner'"),
        ("+new=1", "unknown key 'new'"),
        ("task.dt=abc", "task.dt=abc: must be a number"),
        ("task.dt=true", "task.dt=true: must be a number"),
        ("task.noise=1", "task.noise=1: must be true or false"),
        ("task.range=3", "task.range=3: must be a list"),
        ("task.push=3", "task.push=3: must be a mapping"),
        ("~seed", "~seed: seed cannot be left out"),
    ],
)
def test_wrong_overrides(config: DictConfig, argument: str, part: str) -> None:
    assert part in message(config, argument)


@pytest.mark.parametrize(
    "argument",
    [
        *("seed=1", "+seed=1", "task.dt=1", "task.dt=null", "task.limit=abc", "task.range=[0,2]"),
        *("+task.new=1", "+task.push.new=1", "+task.new.inner=1", "~task.dt", "~task.push.speed"),
    ],
)
def test_right_overrides(config: DictConfig, argument: str) -> None:
    check(config, parse([argument])[0])


def test_expand_gives_every_combination() -> None:
    jobs = expand(["task=hopper", "seed=0,1", "algo.gamma=0.9,0.99"])
    assert [job[1:] for job in jobs] == [
        ["seed=0", "algo.gamma=0.9"],
        ["seed=0", "algo.gamma=0.99"],
        ["seed=1", "algo.gamma=0.9"],
        ["seed=1", "algo.gamma=0.99"],
    ]
    assert {job[0] for job in jobs} == {"task=hopper"}


def test_expand_understands_ranges() -> None:
    assert expand(["seed=range(0,3)"]) == [["seed=0"], ["seed=1"], ["seed=2"]]


def test_nearest() -> None:
    assert nearest("sede", ["seed", "task"], "keys") == "did you mean 'seed'? keys: seed, task"
    assert nearest("zzz", [], "runs") == "runs: none"


def test_groups_put_tasks_first() -> None:
    assert overrides.groups()[:3] == ["task", "policy", "algo"]
    assert "hopper" in overrides.options("task")
