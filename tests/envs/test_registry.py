"""Tasks by name."""

import pytest

import envs


def test_every_task_configuration_loads_and_names_itself():
    names = envs.task_names()
    assert {"go2_velocity", "go1_velocity", "go2_velocity_rough", "go2_getup", "hopper", "ant"} <= set(names)
    for name in names:
        config = envs.load_task_config(name)
        assert config["name"] == name and config["kind"] and config["description"]


def test_an_unknown_task_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'go2_velocity'"):
        envs.make("go2_velocty", num_worlds=1)


def test_an_unknown_kind_names_the_valid_ones():
    with pytest.raises(ValueError, match="velocity"):
        envs.make({"name": "x", "kind": "flying"}, num_worlds=1)


def test_overrides_are_merged():
    env = envs.make("go2_velocity", num_worlds=1, overrides={"episode_length_s": 1.0})
    assert env.spec.horizon == 50 and env.spec.control_dt == 0.02
