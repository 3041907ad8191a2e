"""The velocity task: what the actor sees, what its symmetry says, what ends an episode, what resumes."""

import math

import pytest
import torch

import envs
from envs.mdp.frames import from_yaw


def make(n=8, task="go2_velocity", **overrides):
    return envs.make(task, num_worlds=n, num_threads=1, overrides=overrides)


QUIET = {
    "push": {"speed": [0.0, 0.0]},
    "randomization": None,
    "encoder_bias": 0.0,
    "delay": {"action_s": [0.0, 0.0]},
    "initial": {"yaw": 0.0, "velocity": 0.0, "joint": 0.0},
}


def zeros(env):
    return torch.zeros(env.num_rows, 1, env.spec.action.size)


def term(env, obs, name, group="policy"):
    start = 0
    for spec in env.spec.obs[group].terms:
        if spec.name == name:
            return obs[group][:, start : start + spec.size]
        start += spec.size
    raise KeyError(name)


def test_the_actor_sees_only_what_a_robot_measures():
    env = make()
    names = {spec.name for spec in env.spec.obs["policy"].terms}
    assert "base_lin_vel" not in names and "base_lin_vel" in {spec.name for spec in env.spec.obs["critic"].terms}
    with pytest.raises(ValueError, match="does not measure 'base_lin_vel'"):
        make(observations={"policy": {"base_lin_vel": {}}})


def test_observations_of_a_known_state():
    env = make(**QUIET)
    obs = env.reset(seed=0)
    torch.testing.assert_close(term(env, obs, "projected_gravity", "critic"), torch.tensor([[0.0, 0.0, -1.0]] * 8))
    torch.testing.assert_close(term(env, obs, "joint_pos", "critic"), torch.zeros(8, 12))
    noise = term(env, obs, "joint_vel")
    assert 0.5 < float(noise.abs().max()) <= 1.5
    clock = term(env, obs, "gait_clock", "critic")
    moving = env.command.moving
    torch.testing.assert_close(clock.norm(dim=-1), moving.float())


def test_standing_still_is_stable_and_rewarded():
    env = make(**QUIET)
    env.reset(seed=0)
    env.command.fix([0.0, 0.0, 0.0])
    for _ in range(100):
        result = env.step(zeros(env))
        assert not result.done.any()
    assert float(result.reward.min()) > 0.5 * 1.5 * env.spec.control_dt


def test_action_moves_the_joint_targets():
    env = make(**QUIET)
    env.reset(seed=0)
    action = zeros(env)
    action[:, 0, 4] = 1.0
    env.step(action)
    target = env.physics.field("ctrl").float()
    expected = torch.tensor(env.spec.action.offset)
    expected[4] += env.spec.action.scale[4]
    torch.testing.assert_close(target, expected.expand_as(target))


def test_targets_stay_within_the_joint_limits():
    env = make(**QUIET)
    env.reset(seed=0)
    env.step(zeros(env) + 100.0)
    high = torch.tensor(env.spec.robot.joint_high)
    torch.testing.assert_close(env.physics.field("ctrl").float(), high.expand(8, 12))


def test_action_delay_holds_the_old_target():
    """Delay of one substep of two: half of the period runs on the old target."""
    late = make(**{**QUIET, "delay": {"action_s": [0.01, 0.01]}})
    late.reset(seed=0)
    assert late._buffers["action_delay"].tolist() == [1] * 8
    prompt = make(**QUIET)
    prompt.reset(seed=0)
    action = zeros(late) + 0.5
    late.step(action)
    prompt.step(action)
    moved_late, moved = (env.physics.field("qvel")[:, 6:].abs().mean() for env in (late, prompt))
    assert float(moved_late) < 0.8 * float(moved)


def test_a_tilted_robot_ends_the_episode_as_a_fall():
    env = make(**QUIET)
    env.reset(seed=0)
    env.physics.field("qpos")[0, 3:7] = torch.tensor([math.cos(0.7), math.sin(0.7), 0.0, 0.0], dtype=torch.float64)
    result = env.step(zeros(env))
    assert result.terminated.tolist() == [True] + [False] * 7
    assert float(result.metrics["fall"][0]) == 1.0 and float(result.metrics["success"][0]) == 0.0


def test_pushes_change_the_velocity_by_their_speed():
    env = make(**{**QUIET, "push": {"speed": [0.7, 0.7], "interval_s": [0.02, 0.02]}})
    env.reset(seed=0)
    before = env.physics.field("qvel")[:, :2].clone()
    env.pushes.step(env.physics.field("qvel"), env.generator)
    change = (env.physics.field("qvel")[:, :2] - before).norm(dim=-1)
    torch.testing.assert_close(change, torch.full((8,), 0.7, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", ["go2_velocity", "go2_velocity_rough", "go2_getup"])
def test_symmetry_is_that_of_the_physics(task):
    """Mirroring the state mirrors the observation: two worlds, one the mirror image of the other."""
    env = make(2, task, **{k: v for k, v in QUIET.items() if k != "initial"})
    env.reset(seed=0)
    symmetry = env.spec.symmetry
    qpos, qvel = env.physics.field("qpos"), env.physics.field("qvel")
    joints = env.robot.joint_mirror
    qpos[0, 3:7] = torch.tensor([0.98, 0.1, -0.05, 0.15]).double() / torch.tensor([0.98, 0.1, -0.05, 0.15]).norm()
    qpos[0, 7:] += torch.linspace(-0.2, 0.2, 12).double()
    qvel[0] = torch.linspace(-1, 1, 18)
    qpos[1] = qpos[0]
    qpos[1, 1] *= -1
    qpos[1, [4, 6]] *= -1
    qpos[1, 7:] = joints(qpos[0, 7:])
    qvel[1, :3] = qvel[0, :3] * torch.tensor([1.0, -1.0, 1.0])
    qvel[1, 3:6] = qvel[0, 3:6] * torch.tensor([-1.0, 1.0, -1.0])
    qvel[1, 6:] = joints(qvel[0, 6:])
    command = torch.tensor([0.5, 0.2, -0.3])
    env.command.value[:] = torch.stack([command, command * torch.tensor([1.0, -1.0, -1.0])])
    env.command.moving[:] = True
    env._buffers["clock"][:] = torch.tensor([0.2, 0.7])
    action = torch.linspace(-1, 1, 12)
    env._buffers["action"][:] = torch.stack([action, symmetry.action(action)])
    env._buffers["foot_pos"][:] = 0.0
    env._buffers["contact"][:] = torch.tensor([[True, False, False, True], [False, True, True, False]])
    obs = env.groups(env._read(), torch.Generator())["critic"]
    mirrored = symmetry.obs["critic"](obs[0])
    skip = {"height_scan", "torque", "foot_height", "base_height"}  # depend on where the worlds stand
    start = 0
    for spec in env.spec.obs["critic"].terms:
        if spec.name not in skip:
            part = slice(start, start + spec.size)
            torch.testing.assert_close(obs[1, part], mirrored[part], atol=1e-5, rtol=0, msg=spec.name)
        start += spec.size


def test_height_scan_looks_ahead_along_the_heading():
    """Facing up a slope, the points ahead are higher, so the base is less high above them."""
    env = make(2, "go2_velocity_rough", **{k: v for k, v in QUIET.items() if k != "initial"})
    env.reset(seed=0)
    env.ground.kind[:] = 0
    env.ground.level[:] = 9
    worlds = torch.arange(2)
    origin = env.ground.origin(worlds)
    qpos = env.physics.field("qpos")
    qpos[:, 0] = (origin[:, 0] + 2.0).double()
    qpos[:, 1] = origin[:, 1].double()
    qpos[:, 3:7] = from_yaw(torch.tensor([0.0, math.pi])).double()
    scan = env._scan(qpos.float(), env.ground.height, env.robot.spec.base_height).reshape(2, 7, 5)
    slope = math.tan(math.radians(20.0))
    torch.testing.assert_close(scan[0, 0, 2] - scan[0, 6, 2], torch.tensor(1.2 * slope), atol=0.02, rtol=0)
    torch.testing.assert_close(scan[1, 6, 2] - scan[1, 0, 2], torch.tensor(1.2 * slope), atol=0.02, rtol=0)


@pytest.mark.parametrize("task", ["go2_velocity", "go2_velocity_rough", "go2_getup"])
def test_state_dict_continues_bit_for_bit(task):
    config = {"episode_length_s": 0.3}
    env = make(6, task, **config)
    env.reset(seed=1)
    for _ in range(4):
        env.step(torch.randn(6, 1, 12))
    state = env.state_dict()
    actions = [torch.randn(6, 1, 12) for _ in range(20)]
    first = [env.step(action) for action in actions]
    other = make(6, task, **config)
    other.load_state_dict(state)
    second = [other.step(action) for action in actions]
    assert any(bool(result.done.any()) for result in first)
    for a, b in zip(first, second, strict=True):
        assert all(torch.equal(a.obs[name], b.obs[name]) for name in a.obs)
        assert torch.equal(a.reward, b.reward) and torch.equal(a.done, b.done)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"reward": {}}, "did you mean 'rewards'"),
        ({"physics_dt": 0.003}, "no multiple of physics_dt"),
        ({"robot": "go3"}, "go2"),
        ({"commands": {"lin_vel": [0, 1]}}, "valid: ang_vel_z, dead_band, interval_s, lin_vel_x"),
        ({"scene": {"cone": "round"}}, "pyramidal"),
    ],
)
def test_bad_configuration(overrides, message):
    with pytest.raises(ValueError, match=message):
        make(**overrides)
