"""Constants of the Panda against its MJCF, and the MJCF against Franka's Denavit-Hartenberg table."""

import math

import mujoco
import numpy as np
import pytest

from envs.robots.panda import PANDA

# Franka's documentation: a [m], d [m], alpha [rad] of joints 1-7 and the flange (Craig's convention).
MDH = [
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
    (0.0, 0.107, 0.0),
]
MASSES = (4.970684, 0.646926, 3.228604, 3.587895, 1.225946, 1.666555, 0.735522)  # Gaz et al. 2019, links 1-7


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(PANDA.xml))


def flange(joints: np.ndarray) -> np.ndarray:
    """Pose (4, 4) of the flange by the table."""
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(MDH, [*joints, 0.0], strict=True):
        ca, sa, ct, st = math.cos(alpha), math.sin(alpha), math.cos(theta), math.sin(theta)
        pose = pose @ np.array(
            [[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
        )
    return pose


def posed(model: mujoco.MjModel, joints: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[:7] = joints
    mujoco.mj_forward(model, data)
    return data


def test_hand_follows_the_denavit_hartenberg_table(model):
    """The hand sits on the flange, turned by -45 degrees; its tip is 0.1034 m further."""
    turn = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, math.sqrt(2)]]) / math.sqrt(2)
    for joints in np.random.default_rng(0).uniform(PANDA.spec.joint_low, PANDA.spec.joint_high, (5, 7)):
        expected, site = flange(joints), posed(model, joints).site(PANDA.hand_site)
        np.testing.assert_allclose(site.xpos, expected[:3, 3] + 0.1034 * expected[:3, 2], atol=1e-9)
        np.testing.assert_allclose(site.xmat.reshape(3, 3), expected[:3, :3] @ turn, atol=1e-9)


def test_ready_pose_of_the_documentation(model):
    """(0, -pi/4, 0, -3 pi/4, 0, pi/2, pi/4) puts the flange at x = 0.3069, z = 0.5903 m, pointing down."""
    ready = np.array([0, -math.pi / 4, 0, -3 * math.pi / 4, 0, math.pi / 2, math.pi / 4])
    np.testing.assert_allclose(flange(ready)[:3, 3], [0.30689, 0.0, 0.59028], atol=1e-5)
    np.testing.assert_allclose(posed(model, ready).site("hand").xpos, [0.30689, 0.0, 0.48688], atol=1e-5)


def test_home_holds_the_hand_over_the_table(model):
    site = posed(model, np.array(PANDA.spec.default_joint_pos)).site("hand")
    np.testing.assert_allclose(site.xpos, [0.45, 0.0, 0.20], atol=1e-5)
    np.testing.assert_allclose(site.xmat.reshape(3, 3), np.diag([1.0, -1.0, -1.0]), atol=1e-5)


def test_masses(model):
    for number, mass in enumerate(MASSES, 1):
        assert model.body(f"link{number}").mass[0] == pytest.approx(mass, abs=1e-9)
    assert model.body("hand").mass[0] == pytest.approx(0.73)
    assert model.body_mass.sum() == pytest.approx(PANDA.spec.total_mass, abs=1e-6)


def test_inertia_of_link_3_as_identified(model):
    body = model.body("link3")
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, body.iquat)
    rotation = rotation.reshape(3, 3)
    full = rotation @ np.diag(body.inertia) @ rotation.T
    xx, yy, zz, xy, xz, yz = 0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805
    np.testing.assert_allclose(full, [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], atol=1e-9)


def test_joints_and_motors_follow_the_spec(model):
    spec, names = PANDA.spec, (*PANDA.spec.joint_names, *PANDA.finger_names)
    assert tuple(model.joint(i).name for i in range(9)) == names
    assert tuple(model.actuator(i).name for i in range(9)) == names
    assert model.actuator_trnid[:, 0].tolist() == list(range(9))
    np.testing.assert_allclose(model.jnt_range[:7], np.stack([spec.joint_low, spec.joint_high], 1))
    np.testing.assert_allclose(model.jnt_range[7:], [[0, PANDA.finger_travel]] * 2)
    np.testing.assert_allclose(model.actuator_forcerange[:7, 1], spec.torque_limit)
    np.testing.assert_allclose(model.actuator_gainprm[:7, 0], spec.kp)
    np.testing.assert_allclose(-model.actuator_biasprm[:7, 2], spec.kd)


def test_limits_of_the_documentation():
    spec = PANDA.spec
    assert spec.joint_low == (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
    assert spec.joint_high == (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
    assert spec.velocity_limit == (2.175,) * 4 + (2.61,) * 3
    assert spec.torque_limit == (87.0,) * 4 + (12.0,) * 3


def test_weight_is_compensated(model):
    """At rest in any pose, without control: the links' weight is borne, the base's is the table's."""
    data = posed(model, np.array(PANDA.spec.default_joint_pos) + 0.3)
    np.testing.assert_allclose(data.qfrc_bias[:7], data.qfrc_gravcomp[:7], atol=1e-9)
    assert np.abs(data.qfrc_bias[:7]).max() > 5.0  # there is something to bear


@pytest.mark.parametrize("timestep", [0.001, 0.005, 0.01])
def test_holds_its_targets(model, timestep):
    model.opt.timestep, model.opt.integrator = timestep, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    target = np.array(PANDA.spec.default_joint_pos)
    data = posed(model, target + 0.1)
    data.ctrl[:7] = target
    for _ in range(round(1.0 / timestep)):
        mujoco.mj_step(model, data)
        assert np.abs(data.qpos[:7] - target).max() < 0.11  # never further off than at the start
    np.testing.assert_allclose(data.qpos[:7], target, atol=1e-4)
