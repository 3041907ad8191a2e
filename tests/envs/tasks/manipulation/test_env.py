"""What every tabletop task shares, on each of them."""

import mujoco
import numpy as np
import pytest
import torch

import envs
from embodied.types import VecEnv
from envs.mdp import rotations
from envs.tasks.manipulation import TASKS, ManipulationEnv
from envs.tasks.manipulation.experts import make_expert

NAMES = sorted(TASKS)


def make(name: str, n: int = 4, **overrides) -> ManipulationEnv:
    return envs.make(name, num_worlds=n, num_threads=1, overrides=overrides)


def still(env: ManipulationEnv) -> torch.Tensor:
    return torch.zeros(env.num_rows, 1, env.spec.action.size)


def moves(env: ManipulationEnv, steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(steps, env.num_rows, 1, env.spec.action.size, generator=generator) * 2 - 1


@pytest.mark.parametrize("task", NAMES)
def test_observations_are_what_the_spec_says(task):
    env = make(task)
    assert isinstance(env, VecEnv)
    obs = env.reset(seed=0)
    for name, group in env.spec.obs.items():
        assert obs[name].shape == (4, *group.shape) and obs[name].dtype == torch.float32
        assert torch.isfinite(obs[name]).all()
    assert set(obs) == {"policy", "critic"}
    assert env.spec.action.low == -1.0 and env.spec.action.high == 1.0
    assert 50 <= env.spec.horizon <= 200 and env.spec.control_dt == 0.05 and env.spec.physics_dt == 0.005


@pytest.mark.parametrize("task", NAMES)
def test_the_start_is_at_rest_unsolved_and_a_function_of_the_seed(task):
    env = make(task, 64)
    first, other = env.reset(seed=1), env.reset(seed=2)
    torch.testing.assert_close(env.reset(seed=1), first, atol=0, rtol=0)
    assert not torch.equal(first["policy"], other["policy"])
    before = env.read()
    result = env.step(still(env))
    after = env.read()
    assert not result.terminated.any()
    assert (after.object_pos - before.object_pos).norm(dim=-1).max() < 1e-3 if env.objects else True
    assert (after.hand_pos - before.hand_pos).norm(dim=-1).max() < 2e-3


@pytest.mark.parametrize("task", NAMES)
def test_hand_pose_is_the_physics_own(task):
    env = make(task)
    env.reset(seed=0)
    for action in moves(env, 5):
        env.step(action)
    s, velocity = env.read(), np.zeros(6)
    for row in range(2):
        model, data = env.physics.get_model_data(row)
        site = data.site("hand")
        np.testing.assert_allclose(s.hand_pos[row], site.xpos, atol=1e-6)
        np.testing.assert_allclose(s.hand_rot[row].ravel(), site.xmat, atol=1e-6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_SITE, site.id, velocity, 0)
        np.testing.assert_allclose(s.hand_vel[row], [*velocity[3:], *velocity[:3]], atol=1e-5)
        for number, name in enumerate(env.objects):
            np.testing.assert_allclose(s.object_pos[row, number], data.body(name).xpos, atol=1e-6)
            np.testing.assert_allclose(s.object_rot[row, number].ravel(), data.body(name).xmat, atol=1e-6)


@pytest.mark.parametrize("task", NAMES)
def test_continuation_is_bit_exact(task):
    env, again = make(task), make(task)
    env.reset(seed=0)
    script = moves(env, 12)
    for action in script[:6]:
        env.step(action)
    again.load_state_dict(env.state_dict())
    for action in script[6:]:
        one, two = env.step(action), again.step(action)
        torch.testing.assert_close(one.obs, two.obs, atol=0, rtol=0)
        torch.testing.assert_close(one.reward, two.reward, atol=0, rtol=0)
    torch.testing.assert_close(env.physics.field("qpos"), again.physics.field("qpos"), atol=0, rtol=0)


@pytest.mark.parametrize("task", NAMES)
def test_results_do_not_depend_on_threads(task):
    one = envs.make(task, num_worlds=6, num_threads=1)
    two = envs.make(task, num_worlds=6, num_threads=2)
    one.reset(seed=0)
    two.reset(seed=0)
    for action in moves(one, 5):
        torch.testing.assert_close(one.step(action).obs, two.step(action).obs, atol=0, rtol=0)


@pytest.mark.parametrize("task", NAMES)
def test_success_ends_the_episode_with_reward_one(task):
    env = make(task, 16)
    env.reset(seed=0)
    expert, solved = make_expert(env), torch.zeros(16, dtype=torch.bool)
    for _ in range(env.spec.horizon):
        result = env.step(expert.act())
        assert torch.equal(result.reward, result.terminated.float())
        if result.done.any():
            ended = result.terminated
            assert (result.metrics["success"][ended] == 1).all()
            assert (result.metrics["return"][ended] == 1).all()
            assert (result.metrics["progress"][ended] > 0.5).all()
            assert (env.episode_length[result.done] == 0).all()
            solved |= ended
            expert.reset(result.done.nonzero()[:, 0])
        if solved.sum() >= 4:
            return
    pytest.fail("the expert solved fewer than 4 of 16 episodes")


@pytest.mark.parametrize("task", NAMES)
def test_dense_reward_sums_to_the_gain_in_progress(task):
    env = make(task, 8, reward="dense")
    env.reset(seed=0)
    env.autoreset = False
    start, total = env.progress(env.read()), torch.zeros(8)
    for action in moves(env, 10):
        result = env.step(action)
        total += result.reward - result.terminated.float()
    torch.testing.assert_close(total, env.progress(env.read()) - start, atol=1e-5, rtol=0)
    assert (env.progress(env.read()) >= 0).all() and (env.progress(env.read()) <= 1).all()


def test_dense_reward_starts_afresh_after_a_reset():
    env = make("reach", 4, reward="dense", horizon=3)
    env.reset(seed=0)
    for action in moves(env, 7):
        result = env.step(action)
    assert result.reward.abs().max() < 0.3 and env.episode_length.tolist() == [1] * 4


def test_what_is_not_solved_by_the_deadline_has_failed():
    env, lenient = make("pick_cube", 3, horizon=4), make("pick_cube", 3, horizon=4, deadline=False)
    names = [term.name for term in env.spec.obs["critic"].terms]
    first = sum(term.size for term in env.spec.obs["critic"].terms[: names.index("time_left")])
    time = slice(first, first + 1)
    assert env.reset(seed=0)["critic"][:, time].flatten().tolist() == [pytest.approx(0.2)] * 3
    lenient.reset(seed=0)
    for left in (0.15, 0.1, 0.05, 0.0):
        result, other = env.step(still(env)), lenient.step(still(lenient))
        assert result.final_obs["critic"][:, time].flatten().tolist() == [pytest.approx(left)] * 3
    assert result.terminated.all() and not result.truncated.any() and not result.reward.any()
    assert result.obs["critic"][:, time].flatten().tolist() == [pytest.approx(0.2)] * 3
    assert other.truncated.all() and not other.terminated.any()
    assert "time_left" not in [term.name for term in lenient.spec.obs["critic"].terms]


def test_the_hand_follows_its_target_along_each_axis():
    env = make("pick_cube", 5)
    env.reset(seed=0)
    start = env.read()
    action = still(env)
    for axis in range(3):
        action[axis, 0, axis] = 0.5
    action[3, 0, 3] = 0.5  # yaw
    action[:, 0, 4] = 1.0
    for _ in range(8):
        env.step(action)
    action[:, 0, :4] = 0.0
    for _ in range(10):
        env.step(action)
    s = env.read()
    expected = torch.zeros(5, 3)
    expected[:3] = torch.eye(3) * 8 * 0.5 * env.config.position_scale
    torch.testing.assert_close(s.hand_pos - start.hand_pos, expected, atol=2e-3, rtol=0)
    assert rotations.yaw_of(s.hand_rot)[3] == pytest.approx(8 * 0.5 * env.config.rotation_scale, abs=5e-3)
    assert (s.hand_rot[:, 2, 2] < -0.9999).all()  # fingers down


def test_the_gripper_opens_and_closes():
    env = make("pick_cube", 2)
    env.reset(seed=0)
    action = still(env)
    action[0, 0, 4], action[1, 0, 4] = -1.0, 1.0
    for _ in range(20):
        env.step(action)
    torch.testing.assert_close(env.read().opening, torch.tensor([0.0, 0.08]), atol=1e-3, rtol=0)


def test_a_blocked_hand_does_not_wind_up():
    env = make("reach", 1, workspace_low=[0.25, -0.35, -0.2])
    env.reset(seed=0)
    action = still(env)
    action[0, 0, 2] = -1.0
    for _ in range(40):
        env.step(action)
    s = env.read()
    assert 0.005 < s.hand_pos[0, 2] < 0.013  # the fingers' tips, 11 mm further, stand on the table
    assert (s.target_pos - s.hand_pos).norm() < env.config.max_lead + 0.01


def test_the_target_stays_in_the_workspace():
    env = make("reach", 8)
    env.reset(seed=0)
    env.autoreset = False
    corner = torch.tensor([[[x, y, z]] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    for _ in range(40):
        env.step(corner)
    s = env.read()
    low, high = torch.tensor(env.config.workspace_low), torch.tensor(env.config.workspace_high)
    assert (s.target_pos >= low - 1e-6).all() and (s.target_pos <= high + 1e-6).all()
    assert env.failures == 0


def test_full_rotation_control_tilts_the_hand():
    env = make("pick_cube", 1, axes=["x", "y", "z", "roll", "pitch", "yaw", "gripper"])
    env.reset(seed=0)
    action = still(env)
    action[0, 0, 3] = 1.0
    for _ in range(3):
        env.step(action)
    action[:] = 0.0
    for _ in range(10):
        env.step(action)
    assert env.spec.action.size == 7
    expected = rotations.exp(torch.tensor([[0.3, 0.0, 0.0]])) @ torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(env.read().hand_rot, expected, atol=0.02, rtol=0)


def test_action_in_physical_units():
    spec = make("pick_cube", 1).spec.action
    assert spec.names == ("dx", "dy", "dz", "dyaw", "gripper")
    assert spec.scale == (0.02, 0.02, 0.02, 0.1, 0.02)
    assert spec.offset == (0.0, 0.0, 0.0, 0.0, 0.02)
    assert spec.command_low[-1] == 0.0 and spec.command_high[-1] == 0.04


def test_objects_differ_between_worlds_and_return_to_nominal_draws():
    laws = {"object_friction": {"low": 0.3, "high": 0.9}, "object_mass": {"low": 0.5, "high": 2.0}}
    env = make("pick_cube", 32, randomization=laws)
    env.reset(seed=0)
    env.reset(seed=1)
    model = env.physics.model
    body, geom = model.body("cube").id, model.geom("cube_0").id
    s = env.read()
    friction = env.physics.model_field("geom_friction")[:, geom, 0].float()
    mass = env.physics.model_field("body_mass")[:, body].float()
    inertia = env.physics.model_field("body_inertia")[:, body, 0].float()
    torch.testing.assert_close(friction, s.friction)
    torch.testing.assert_close(mass, model.body_mass[body] * s.mass_scale)
    torch.testing.assert_close(inertia, float(model.body_inertia[body, 0]) * s.mass_scale)
    assert friction.min() >= 0.3 and friction.max() <= 0.9 and friction.std() > 0.1
    assert s.mass_scale.min() >= 0.5 and s.mass_scale.max() <= 2.0 and s.mass_scale.std() > 0.2
    other = env.physics.model_field("body_mass")[:, model.body("hand").id]
    assert (other == model.body_mass[model.body("hand").id]).all()


def test_a_broken_world_ends_alone_and_without_success():
    env = make("pick_cube", 4)
    env.reset(seed=0)
    env.physics.field("qvel")[2] = float("nan")
    result = env.step(still(env))
    assert result.terminated.tolist() == [False, False, True, False] and env.failures == 1
    assert result.metrics["success"][2] == 0 and result.reward[2] == 0
    assert torch.isfinite(result.obs["critic"]).all() and torch.isfinite(result.final_obs["critic"]).all()
    assert not env.step(still(env)).terminated.any()


@pytest.mark.render
@pytest.mark.parametrize("task", NAMES)
def test_a_picture_shows_the_scene(task):
    env = make(task, 2)
    env.reset(seed=0)
    frame = env.render(1, width=160, height=120)
    assert frame.shape == (120, 160, 3) and frame.std() > 20
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 500


@pytest.mark.render
def test_the_marker_stands_at_the_worlds_goal():
    env = make("reach", 2)
    env.reset(seed=0)
    for row in range(2):
        _, data = env.get_model_data(row)
        np.testing.assert_allclose(data.body("goal").xpos, env.read().goal[row], atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task": "juggle"}, "pick_cube"),
        ({"reward": "spars"}, "did you mean 'sparse'"),
        ({"axes": ["x", "yaww"]}, "did you mean 'yaw'"),
        ({"axes": ["x", "x"]}, "each once"),
        ({"horizon": 0}, "task.horizon=0"),
        ({"physics_dt": 0.03}, "no multiple"),
        ({"workspace_low": [1.0, 0.0, 0.0]}, "not below"),
        ({"options": {"tolerence": 0.1}}, "did you mean 'tolerance'"),
        ({"options": {"tolerance": -1.0}}, "above 0"),
        ({"randomization": {"object_colour": {"low": 0, "high": 1}}}, "object_mass"),
        ({"randomization": {"object_mass": {"low": 0.0, "high": 1}}}, "above 0"),
        ({"speed": 3}, "unknown key task.speed"),
    ],
)
def test_mistakes_in_the_configuration(overrides, message):
    with pytest.raises(ValueError, match=message):
        make("pick_cube", 1, **overrides)


def test_a_wrong_action_shape_is_an_error():
    env = make("reach", 2)
    with pytest.raises(ValueError, match=r"expected \(2, 1, 3\)"):
        env.step(torch.zeros(2, 1, 7))
