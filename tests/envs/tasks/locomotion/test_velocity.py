"""The velocity task: what the actor sees, what its symmetry says, what ends an episode, what resumes."""

import math

import pytest
import torch

import envs
from envs.mdp.frames import from_yaw, rotate_inverse


def make(n=8, task="go2_velocity", **overrides):
    return envs.make(task, num_worlds=n, num_threads=1, overrides=overrides)


QUIET = {
    "push": {"speed": [0.0, 0.0]},
    "randomization": None,
    "encoder_bias": 0.0,
    "delay": {"action_s": [0.0, 0.0]},
    "initial": {"yaw": 0.0, "velocity": 0.0, "joint": 0.0},
}


NOISY = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel")


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


# angular velocity and gravity; command; joints; last action and clock
SENSED = torch.tensor([True] * 6 + [False] * 3 + [True] * 24 + [False] * 14)


def test_a_late_observation_is_that_of_the_period_before():
    """Two equal environments but for the delay; without noise the late one repeats what the other's sensors saw.

    What the robot knows at once is never late: the command (3), the last action (12) and the clock (2).
    """
    sharp = {"observations": {"policy": {name: {"noise": 0.0} for name in NOISY}}}
    late = make(**QUIET | sharp | {"delay": {"action_s": [0.0, 0.0], "observation_s": [0.02, 0.02]}})
    prompt = make(**QUIET | sharp)
    actions = torch.randn(6, 8, 1, 12) * 0.3
    for _ in range(2):  # a second reset with the same seed is no different from the first
        seen = [late.reset(seed=3)["policy"]]
        told = [prompt.reset(seed=3)["policy"]]
        for action in actions:
            seen.append(late.step(action).obs["policy"])
            told.append(prompt.step(action).obs["policy"])
        assert torch.equal(seen[0], told[0])
        for now, prompt_now, before in zip(seen[1:], told[1:], told[:-1], strict=True):
            assert torch.equal(now[:, SENSED], before[:, SENSED])
            assert torch.equal(now[:, ~SENSED], prompt_now[:, ~SENSED])
        assert not torch.equal(told[-1][:, 33:45], told[-2][:, 33:45])  # the last action did change


def test_a_late_observation_does_not_reach_behind_a_reset():
    env = make(**QUIET | {"delay": {"action_s": [0.0, 0.0], "observation_s": [0.02, 0.02]}, "episode_length_s": 0.06})
    env.reset(seed=0)
    for _ in range(3):
        result = env.step(zeros(env) + 1.0)
    assert result.done.all() and float(term(env, result.final_obs, "last_action").min()) == 1.0
    after = env.step(zeros(env) + 1.0).obs
    assert torch.equal(after["policy"][:, SENSED], result.obs["policy"][:, SENSED])


def test_what_is_handed_out_does_not_change_later():
    env = make(delay={"action_s": [0.0, 0.0], "observation_s": [0.0, 0.04 / 3]})
    env.reset(seed=0)
    result = env.step(torch.randn(8, 1, 12))
    kept = {name: group.clone() for name, group in result.final_obs.items()}
    for _ in range(3):
        env.step(torch.randn(8, 1, 12))
    assert all(torch.equal(result.final_obs[name], kept[name]) for name in kept)


def test_a_reset_is_allowed_after_steps_in_inference_mode():
    env = make(delay={"action_s": [0.0, 0.0], "observation_s": [0.0, 0.02]})
    env.reset(seed=0)
    with torch.inference_mode():
        env.step(torch.randn(8, 1, 12))
    env.reset()


def test_a_pushed_robot_feels_it_in_the_same_observation():
    env = make(**QUIET | {"push": {"speed": [0.7, 0.7], "interval_s": [0.02, 0.02]}})
    env.reset(seed=0)
    obs = env.step(zeros(env)).obs
    qpos, qvel = (env.physics.field(name).float() for name in ("qpos", "qvel"))
    torch.testing.assert_close(term(env, obs, "base_lin_vel", "critic"), rotate_inverse(qpos[:, 3:7], qvel[:, :3]))
    assert float(qvel[:, :2].norm(dim=-1).min()) > 0.5


def test_a_broken_world_did_not_succeed():
    env = make(**QUIET)
    env.reset(seed=0)
    env.physics.field("qvel")[2] = torch.nan
    result = env.step(zeros(env))
    assert result.terminated.tolist() == [world == 2 for world in range(8)]
    assert result.metrics["success"].tolist() == [float(world != 2) for world in range(8)]
    assert all(torch.isfinite(group).all() for group in (*result.obs.values(), *result.final_obs.values()))


def test_swing_height_does_not_apply_where_no_foot_moved():
    env = make(**QUIET | {"episode_length_s": 0.1})
    env.reset(seed=0)
    env._buffers["contact"][:] = True
    for _ in range(5):
        result = env.step(zeros(env))
    assert result.truncated.all() and torch.isnan(result.metrics["swing_height"]).all()


def test_a_gait_without_a_mirror_image_has_no_symmetry():
    bound = make(1, gait={"offsets": {"FR": 0.0, "FL": 0.0, "RR": 0.5, "RL": 0.5}})
    names = [spec.name for spec in bound.spec.obs["policy"].terms for _ in range(spec.size)]
    sign = bound.spec.symmetry.obs["policy"].sign
    assert [sign[i] for i, name in enumerate(names) if name == "gait_clock"] == [1.0, 1.0]
    assert make(1, gait={"offsets": {"FR": 0.0, "FL": 0.1, "RR": 0.5, "RL": 0.6}}).spec.symmetry is None


# Rough ground ---------------------------------------------------------------------------------------------------


SMALL_FIELD = {"levels": 3, "start_level": 2, "tile_size": 6.0, "resolution": 0.1, "border": 2.0}


def rough(n=8, **overrides):
    return make(n, "go2_velocity_rough", **QUIET | {"terrain": SMALL_FIELD} | overrides)


def test_what_follows_a_seed_does_not_depend_on_what_was_before():
    used, fresh = rough(), rough()
    used.reset(seed=1)
    used.ground.level[:] = 0
    for _ in range(20):
        used.step(torch.randn(8, 1, 12))
    first, second = used.reset(seed=5), fresh.reset(seed=5)
    assert torch.equal(used.ground.level, fresh.ground.level)
    for action in torch.randn(10, 8, 1, 12):
        assert all(torch.equal(first[name], second[name]) for name in first)
        first, second = used.step(action).obs, fresh.step(action).obs


def test_the_curriculum_asks_for_what_the_command_leads_to():
    """Robots that stand: those that were to walk straight go down; a circle would have led back to the start."""
    env = rough(episode_length_s=2.0, terminations={"tilted": None, "too_low": None})
    env.reset(seed=0)
    env.ground.level[:] = 1
    env.command.fix([0.5, 0.0, 0.0])
    for _ in range(env.spec.horizon):
        yaws = torch.linspace(0.0, 2 * math.pi, env.spec.horizon + 1)[int(env.episode_length[0])]
        env.physics.field("qpos")[4:, 3:7] = from_yaw(yaws.expand(4)).double()
        env.physics.field("qpos")[:, :2] = env._buffers["start"][:, :2].double() + 0.1
        asked = env._buffers["asked"].norm(dim=-1)
        result = env.step(zeros(env))
    torch.testing.assert_close(asked[:4], torch.full((4,), 0.99), atol=0.02, rtol=0)
    assert float(asked[4:].max()) < 0.1
    assert result.truncated.all() and env.ground.level.tolist() == [0] * 4 + [1] * 4


def test_a_fall_goes_down_and_a_broken_world_stays():
    env = rough()
    env.reset(seed=0)
    env.ground.level[:] = 1
    env.command.fix([0.5, 0.0, 0.0])
    env.step(zeros(env))
    env.physics.field("qpos")[0, 3:7] = torch.tensor([math.cos(0.7), math.sin(0.7), 0.0, 0.0], dtype=torch.float64)
    env.physics.field("qvel")[1] = torch.nan
    assert env.step(zeros(env)).terminated.tolist() == [True, True] + [False] * 6
    assert env.ground.level.tolist() == [0] + [1] * 7


def test_the_end_of_the_field_cuts_an_episode_short():
    env = rough()
    env.reset(seed=0)
    env.physics.field("qpos")[3, 0] = env.ground.size[0] / 2 - 0.3
    env.physics.field("qpos")[3, 2] = 0.35
    result = env.step(zeros(env))
    assert result.truncated.tolist() == [world == 3 for world in range(8)] and not result.terminated.any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"reward": {}}, "did you mean 'rewards'"),
        ({"physics_dt": 0.003}, "no multiple of physics_dt"),
        ({"robot": "go3"}, "go2"),
        ({"commands": {"lin_vel": [0, 1]}}, "valid: ang_vel_z, dead_band, interval_s, lin_vel_x"),
        ({"scene": {"cone": "round"}}, "pyramidal"),
        ({"initial": {"velocty": 0.2}}, "did you mean 'velocity'"),
        ({"rewards": 3.0}, "task.rewards must be a mapping"),
        ({"rewards": None}, "no reward term has a weight"),
        ({"observations": None}, "need a group 'policy'"),
        ({"control_dt": 0.0}, "control_dt=0.0: must be a number above 0"),
        ({"action_limit": -1.0}, "action_limit=-1.0"),
        ({"delay": {"action_s": [0.0, 0.03]}}, "longer than the control period"),
        ({"delay": {"observation_s": [0.0, 0.05]}}, "more than one period"),
        ({"delay": {"action_s": 0.01}}, "low <= high"),
        ({"gait": {"duty": 1.0}}, "fraction of the cycle"),
        ({"gait": {"offsets": {"LF": 0.0}}}, "legs are FR, FL, RR, RL"),
    ],
)
def test_bad_configuration(overrides, message):
    with pytest.raises(ValueError, match=message):
        make(**overrides)


def test_null_is_nothing():
    env = make(1, push=None, initial=None, randomization=None, terminations={"tilted": None})
    assert not env.pushes.active and not env.physics_draws.randomizer.samples and list(env._ends) == ["too_low"]
    env = make(1, observations={"policy": {"gait_clock": None}}, rewards={"energy": None})
    assert "gait_clock" not in {spec.name for spec in env.spec.obs["policy"].terms}
    assert "energy" not in env._rewards.names
