"""Getting up: where it starts, and what counts as success."""

import pytest
import torch

import envs


def make(n=16, **overrides):
    calm = {"randomization": None, "encoder_bias": 0.0, "delay": {"action_s": [0.0, 0.0]}}
    return envs.make("go2_getup", num_worlds=n, num_threads=1, overrides=calm | overrides)


def zeros(env):
    return torch.zeros(env.num_rows, 1, env.spec.action.size)


def test_starts_are_spread_over_all_orientations_and_poses():
    env = make(512, initial={"height": 0.45, "velocity": 0.0, "fallen": 1.0})
    env.reset(seed=0)
    up = -env._read().gravity_b[:, 2]
    assert abs(float(up.mean())) < 0.1 and abs(float(up.var()) - 1 / 3) < 0.05
    joints = env.physics.field("qpos")[:, 7:].float()
    low, high = torch.tensor(env.spec.robot.joint_low), torch.tensor(env.spec.robot.joint_high)
    assert bool((joints >= low).all()) and bool((joints <= high).all())
    torch.testing.assert_close(joints.mean(0), (low + high) / 2, atol=0.15, rtol=0)


def test_a_standing_robot_succeeds_at_the_horizon_and_a_fallen_one_does_not():
    standing = make(4, episode_length_s=2.0, initial={"height": 0.34, "fallen": 0.0, "velocity": 0.0})
    standing.reset(seed=0)
    fallen = make(4, episode_length_s=2.0, initial={"height": 0.3, "fallen": 0.0, "velocity": 0.0})
    fallen.reset(seed=0)
    fallen.physics.field("qpos")[:, 3:7] = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    for env, expected in ((standing, 1.0), (fallen, 0.0)):
        for _ in range(env.spec.horizon):
            result = env.step(zeros(env))
        assert result.truncated.all()
        assert result.metrics["success"].tolist() == [expected] * 4
    assert float(fallen.failures) == 0


def test_nothing_but_time_ends_an_episode():
    env = make(16)
    env.reset(seed=0)
    for _ in range(60):
        assert not env.step(zeros(env)).done.any()


def test_time_to_stand_is_when_the_stance_was_first_held():
    env = make(2, episode_length_s=2.0, initial={"height": 0.335, "fallen": 0.0, "velocity": 0.0})
    env.reset(seed=0)
    for _ in range(env.spec.horizon):
        result = env.step(zeros(env))
    assert 0.5 <= float(result.metrics["time_to_stand"][0]) <= 1.5


@pytest.mark.parametrize("group", ["policy", "critic"])
def test_there_is_no_command_to_see(group):
    env = make(1)
    assert "command" not in {term.name for term in env.spec.obs[group].terms}


def test_a_fallen_robot_is_limp_at_first_whatever_the_policy_says():
    env = make(8, initial={"height": 0.5, "fallen": 1.0, "limp": 0.1})
    env.reset(seed=0)
    for step in range(7):
        before = env.physics.field("qpos")[:, 7:].clone()
        env.step(zeros(env) + 0.3)
        limp = torch.isclose(env.physics.field("ctrl"), before, atol=1e-6).all()
        assert bool(limp) == (step < 5)


def test_a_task_without_commands_offers_none():
    assert make(1).spec.command == {}
