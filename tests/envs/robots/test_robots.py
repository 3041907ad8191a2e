"""Constants of the robots against their MJCF, and the kinematics against the two-link formula."""

import math

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.scene import SceneConfig, build_model
from envs.robots import get_robot, robot_names
from envs.robots.robot import LEGS, Robot

# Per robot, apart from its module: hip joint x, y; abduction link; link masses; foot radius (datasheets, see the MJCF).
HIP = {"go2": (0.1934, 0.0465), "go1": (0.1881, 0.04675)}
ABDUCTION = {"go2": 0.0955, "go1": 0.08}
MASSES = {"go2": (6.921, 0.678, 1.152, 0.2414), "go1": (5.204, 0.68, 1.009, 0.1959)}
TOTAL = {"go2": 15.2, "go1": 12.74}
LINK = 0.213


@pytest.fixture(params=robot_names())
def robot(request) -> Robot:
    return get_robot(request.param)


def load(robot: Robot) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(robot.xml))


def leg_foot(name: str, leg: str, hip: float, thigh: float, calf: float) -> np.ndarray:
    """Foot in the base frame: the leg's plane swings about x by the abduction, thigh and calf turn about y."""
    side = 1 if leg[1] == "L" else -1
    x, y = HIP[name]
    forward = -LINK * (math.sin(thigh) + math.sin(thigh + calf))
    down = LINK * (math.cos(thigh) + math.cos(thigh + calf))
    out = side * ABDUCTION[name]
    return np.array(
        [
            (x if leg[0] == "F" else -x) + forward,
            side * y + out * math.cos(hip) + down * math.sin(hip),
            out * math.sin(hip) - down * math.cos(hip),
        ]
    )


def feet(model: mujoco.MjModel, joints: np.ndarray) -> np.ndarray:
    """(4, 3) feet in the base frame, the base at the origin."""
    data = mujoco.MjData(model)
    data.qpos[:] = [0, 0, 0, 1, 0, 0, 0, *joints]
    mujoco.mj_kinematics(model, data)
    return np.array([data.site(f"{leg}_foot").xpos for leg in LEGS])


def test_masses(robot):
    model = load(robot)
    trunk, hip, thigh, calf = MASSES[robot.spec.name]
    for leg in LEGS:
        for link, mass in (("hip", hip), ("thigh", thigh), ("calf", calf)):
            assert model.body(f"{leg}_{link}").mass[0] == pytest.approx(mass, abs=1e-4)
    assert model.body("base").mass[0] == pytest.approx(trunk)
    assert model.body_mass.sum() == pytest.approx(TOTAL[robot.spec.name], abs=0.1)
    assert model.body_mass.sum() == pytest.approx(robot.spec.total_mass, abs=1e-3)


def test_inertias_are_physical(robot):
    inertia = load(robot).body_inertia[1:]
    assert (inertia > 0).all()
    assert (inertia.sum(1) >= 2 * inertia.max(1)).all()  # triangle inequality of the principal moments


def test_go2_trunk_inertia():
    body = load(get_robot("go2")).body("base")
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, body.iquat)
    rotation = rotation.reshape(3, 3)
    full = rotation @ np.diag(body.inertia) @ rotation.T
    expected = [[0.02448, 0, 0.00148], [0, 0.098077, 0], [0.00148, 0, 0.107]]
    np.testing.assert_allclose(full, expected, atol=1e-8)


def test_left_and_right_links_mirror(robot):
    """A reflection in y: com y, and the inertia's xy and yz, change their sign."""
    model, flip = load(robot), np.diag([1.0, -1.0, 1.0])
    for end in "FR":
        for link in ("hip", "thigh", "calf"):
            right, left = (model.body(f"{end}{side}_{link}") for side in "RL")
            np.testing.assert_allclose(flip @ left.ipos, right.ipos, atol=1e-12)
            np.testing.assert_allclose(flip @ _full(left) @ flip, _full(right), atol=1e-10)


def _full(body) -> np.ndarray:
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, body.iquat)
    rotation = rotation.reshape(3, 3)
    return rotation @ np.diag(body.inertia) @ rotation.T


def test_joints_and_motors_follow_the_spec(robot):
    model, spec = load(robot), robot.spec
    assert model.joint(0).name == "root"
    assert tuple(model.joint(i + 1).name for i in range(12)) == spec.joint_names
    assert tuple(model.actuator(i).name for i in range(12)) == spec.joint_names
    assert model.actuator_trnid[:, 0].tolist() == list(range(1, 13))
    np.testing.assert_allclose(model.jnt_range[1:], np.stack([spec.joint_low, spec.joint_high], 1))
    np.testing.assert_allclose(model.actuator_forcerange[:, 1], spec.torque_limit)
    np.testing.assert_allclose(model.actuator_forcerange[:, 0], -np.array(spec.torque_limit))
    np.testing.assert_allclose(model.actuator_gainprm[:, 0], spec.kp)
    np.testing.assert_allclose(model.actuator_biasprm[:, 1], -np.array(spec.kp))
    np.testing.assert_allclose(model.actuator_biasprm[:, 2], -np.array(spec.kd))
    np.testing.assert_allclose(model.site("imu").pos, spec.imu_position)
    np.testing.assert_allclose(model.key("home").qpos[7:], spec.default_joint_pos)
    np.testing.assert_allclose(model.key("home").ctrl, spec.default_joint_pos)
    assert model.key("home").qpos[2] == spec.base_height


@pytest.mark.parametrize(
    ("name", "low", "high", "torque"),
    [
        ("go2", {"FR": (-1.0472, -1.5708, -2.7227), "RL": (-1.0472, -0.5236, -2.7227)},
         {"FR": (1.0472, 3.4907, -0.83776), "RL": (1.0472, 4.5379, -0.83776)}, 45.43),
        ("go1", {"FR": (-0.863, -0.686, -2.818), "RL": (-0.863, -0.686, -2.818)},
         {"FR": (0.863, 4.501, -0.888), "RL": (0.863, 4.501, -0.888)}, 35.55),
    ],
)  # fmt: skip
def test_limits(name, low, high, torque):
    spec = get_robot(name).spec
    for leg in ("FR", "RL"):
        first = spec.joint_names.index(f"{leg}_hip_joint")
        assert spec.joint_low[first : first + 3] == low[leg]
        assert spec.joint_high[first : first + 3] == high[leg]
    assert spec.torque_limit == (23.7, 23.7, torque) * 4


def test_stance_is_within_limits_and_feet_touch_the_ground(robot):
    spec = robot.spec
    assert all(a < q < b for a, q, b in zip(spec.joint_low, spec.default_joint_pos, spec.joint_high, strict=True))
    soles = feet(load(robot), np.array(spec.default_joint_pos))[:, 2] + spec.base_height - robot.foot_radius
    np.testing.assert_allclose(soles, 0, atol=5e-4)


def test_feet_at_stance_worked_by_hand(robot):
    """Front legs (0, 0.75, -1.5): the foot is 2 * 0.213 cos 0.75 = 0.3117 m straight below the hip joint."""
    x, y = HIP[robot.spec.name]
    front_left = feet(load(robot), np.array(robot.spec.default_joint_pos))[1]
    np.testing.assert_allclose(front_left, [x, y + ABDUCTION[robot.spec.name], -0.31170], atol=1e-5)


def test_feet_follow_the_two_link_formula(robot):
    model, rng = load(robot), np.random.default_rng(0)
    for _ in range(5):
        joints = rng.uniform(robot.spec.joint_low, robot.spec.joint_high)
        expected = [leg_foot(robot.spec.name, leg, *joints[3 * i : 3 * i + 3]) for i, leg in enumerate(LEGS)]
        np.testing.assert_allclose(feet(model, joints), expected, atol=1e-9)


def test_positive_abduction_moves_feet_to_the_left(robot):
    """The trap: +0.1 at the left legs moves their feet out, at the right ones in."""
    model, pose = load(robot), np.array(robot.spec.default_joint_pos)
    moved = feet(model, pose + np.array([0.1, 0, 0] * 4))[:, 1] - feet(model, pose)[:, 1]
    assert (moved > 0.02).all()


def test_joint_mirror_mirrors_the_feet(robot):
    model = load(robot)
    joints = np.random.default_rng(1).uniform(-0.4, 0.4, 12) + np.array(robot.spec.default_joint_pos)
    mirrored = robot.joint_mirror(torch.from_numpy(joints)).numpy()
    expected = feet(model, joints)[[1, 0, 3, 2]] * [1, -1, 1]
    np.testing.assert_allclose(feet(model, mirrored), expected, atol=1e-9)
    np.testing.assert_array_equal(robot.joint_mirror(torch.from_numpy(mirrored)).numpy(), joints)


@pytest.mark.parametrize("collision", ["feet", "full"])
@pytest.mark.parametrize("timestep", [0.002, 0.01])
def test_stands_for_two_seconds(robot, collision, timestep):
    model = build_model(robot, SceneConfig(timestep=timestep, collision=collision))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    for _ in range(round(2 / timestep)):
        mujoco.mj_step(model, data)
        # The PD motors give way under the weight: a knee holds m g / 4 on a lever of about 0.15 m, 5.6 N m or 0.16 rad.
        assert abs(data.qpos[2] - robot.spec.base_height) < 0.035
        assert data.body("base").xmat[8] > math.cos(0.1)
    assert np.abs(data.qvel).max() < 0.05
    assert abs(data.qpos[2] - robot.spec.base_height) < 0.03
    assert [data.sensor(f"{foot}_contact").data[0] for foot in robot.spec.foot_names] == [1, 1, 1, 1]


def test_unknown_robot_names_the_choices():
    with pytest.raises(ValueError, match=r"unknown robot 'g02'; did you mean 'go2'\? valid: go1, go2"):
        get_robot("g02")
    with pytest.raises(ValueError, match=r"'spot'; valid: go1, go2$"):
        get_robot("spot")
