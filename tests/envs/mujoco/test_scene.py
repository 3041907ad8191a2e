"""The compiled scene: collision modes, sensors, the height field's orientation, options."""

import mujoco
import numpy as np
import pytest

from envs.mujoco.scene import Heightfield, SceneConfig, build_model
from envs.robots import GO1, GO2


def start(model: mujoco.MjModel, height: float | None = None, quat=(1, 0, 0, 0)) -> mujoco.MjData:
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    data.qpos[3:7] = quat
    if height is not None:
        data.qpos[2] = height
    return data


def collidable(model: mujoco.MjModel) -> set[str]:
    on = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    return {model.geom(i).name for i in np.flatnonzero(on)}


def may_collide(model: mujoco.MjModel, first: str, second: str) -> bool:
    a, b = model.geom(first), model.geom(second)
    return bool((a.contype[0] & b.conaffinity[0]) | (b.contype[0] & a.conaffinity[0]))


@pytest.mark.parametrize("robot", [GO1, GO2])
def test_feet_mode_collides_feet_with_the_ground_only(robot):
    model = build_model(robot, SceneConfig(collision="feet"))
    assert collidable(model) == {"floor", *robot.spec.foot_names}
    assert all(may_collide(model, foot, "floor") for foot in robot.spec.foot_names)
    assert not may_collide(model, "FR_foot", "FL_foot")


@pytest.mark.parametrize("robot", [GO1, GO2])
def test_full_mode_pairs(robot):
    model = build_model(robot, SceneConfig(collision="full"))
    named = {name for name in collidable(model) if name != "floor"}
    assert {"base_trunk", "base_head", "FR_hip", "RL_thigh", "RR_calf", "FL_foot"} <= named
    assert all(may_collide(model, name, "floor") for name in named)
    assert may_collide(model, "base_trunk", "FR_calf") and may_collide(model, "FR_foot", "RL_calf")
    assert not may_collide(model, "base_trunk", "FR_hip") and not may_collide(model, "FR_calf", "FL_thigh")


def test_home_has_no_self_collision():
    for robot in (GO1, GO2):
        model = build_model(robot, SceneConfig(collision="full"))
        data = start(model, height=1.0)
        mujoco.mj_forward(model, data)
        assert data.ncon == 0


def test_body_contact_sensors_tell_links_apart():
    """Upside down the robot lies on its trunk and no foot touches; on its feet only they do."""
    model = build_model(GO2, SceneConfig(collision="full"))
    data = start(model, height=0.1, quat=(0, 1, 0, 0))
    for _ in range(200):
        mujoco.mj_step(model, data)
    assert data.sensor("base_contact").data[0] >= 1
    assert not any(data.sensor(f"{foot}_contact").data[0] for foot in GO2.spec.foot_names)
    data = start(model)
    for _ in range(200):
        mujoco.mj_step(model, data)
    for name in ("base", *(f"{leg}_{link}" for leg in GO2.leg_names for link in ("hip", "thigh", "calf"))):
        assert data.sensor(f"{name}_contact").data[0] == 0


def test_crossed_feet_touch_in_full_mode_only():
    """Hips turned inwards by 0.5: each front foot is 0.018 m beyond the middle, so that spheres of 0.022 overlap."""
    for collision, touching in (("full", True), ("feet", False)):
        model = build_model(GO2, SceneConfig(collision=collision))
        data = start(model, height=1.0)
        data.joint("FR_hip_joint").qpos[0], data.joint("FL_hip_joint").qpos[0] = 0.5, -0.5
        mujoco.mj_forward(model, data)
        assert bool(data.sensor("FR_foot_contact").data[0]) is touching
        assert bool(data.sensor("FL_foot_contact").data[0]) is touching


def test_sensors_and_actuators_are_the_same_with_and_without_visuals():
    models = [build_model(GO2, SceneConfig(collision="full", visuals=visuals)) for visuals in (True, False)]
    seen, plain = models
    assert plain.ngeom < seen.ngeom and plain.ncam == 0 and seen.camera("track") is not None
    assert [seen.sensor(i).name for i in range(seen.nsensor)] == [plain.sensor(i).name for i in range(plain.nsensor)]
    data = [start(model) for model in models]
    for _ in range(100):
        for model, each in zip(models, data, strict=True):
            mujoco.mj_step(model, each)
    np.testing.assert_array_equal(data[0].qpos, data[1].qpos)
    np.testing.assert_array_equal(data[0].sensordata, data[1].sensordata)


@pytest.mark.parametrize("grip", [0.1, 1.3])
def test_the_foot_alone_decides_the_friction(grip):
    """Also where the floor's 0.8 is the larger of the two; any other geom gets the larger."""
    model = build_model(GO2, SceneConfig(collision="full", friction=0.8))
    for foot in GO2.spec.foot_names:
        model.geom(foot).friction[0] = grip
    data = start(model, height=GO2.spec.base_height - 0.002)
    mujoco.mj_forward(model, data)
    assert data.ncon == 4
    np.testing.assert_allclose(data.contact.friction[:, :2], grip)
    data = start(model, height=0.05)
    mujoco.mj_forward(model, data)
    floor_and_trunk = sorted([model.geom("floor").id, model.geom("base_trunk").id])
    at = [sorted(pair) == floor_and_trunk for pair in data.contact.geom.tolist()]
    np.testing.assert_allclose(data.contact.friction[at, 0], 0.8)
    assert any(at)


def ramp(rows: int = 21, cols: int = 41) -> Heightfield:
    """No symmetry: rises by 0.3 m along x, falls by 0.8 m along y, starts at -1 m; 4 m x 2 m."""
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : cols * 1j]
    return Heightfield(-1.0 + 0.3 * x - 0.8 * y, 4.0, 2.0)


def ground_height(model: mujoco.MjModel, data: mujoco.MjData, x: float, y: float) -> float:
    geom = np.zeros(1, np.int32)
    distance = mujoco.mj_ray(model, data, [x, y, 5.0], [0, 0, -1], None, 1, model.body("base").id, geom)
    if geom[0] != model.geom("terrain").id:
        raise AssertionError(f"the ray hit {model.geom(geom[0]).name}")
    return 5.0 - distance


def test_heightfield_lies_as_the_array_says():
    field = ramp()
    model = build_model(GO2, SceneConfig(visuals=False), field)
    data = start(model, height=4.9)
    data.qpos[0] = 50.0  # out of the rays' way
    mujoco.mj_forward(model, data)
    for row, col in ((0, 0), (0, 40), (20, 0), (20, 40), (10, 20), (3, 31)):
        inward = 1e-6 * np.sign([20 - col, 10 - row])  # a ray along the very edge may miss
        x, y = -2.0 + 0.1 * col + inward[0], -1.0 + 0.1 * row + inward[1]
        assert ground_height(model, data, x, y) == pytest.approx(field.heights[row, col], abs=1e-5)


@pytest.mark.parametrize(("x", "y", "reach"), [(0.4, 0.2, 0.5), (-1.9, 0.95, 0.7), (0.0, 0.0, 9.0), (3.0, 0.0, 0.5)])
def test_a_part_of_a_heightfield_lies_where_it_lay(x, y, reach):
    whole = ramp()
    part = whole.around(x, y, reach)
    assert part.size_x <= min(2 * reach + 0.1, 4.0 + 1e-9) and part.size_y <= min(2 * reach + 0.1, 2.0 + 1e-9)
    model = build_model(GO2, SceneConfig(visuals=False), part)
    data = start(model, height=4.9)
    data.qpos[0] = 50.0
    mujoco.mj_forward(model, data)
    for u, v in ((-0.49, -0.49), (0.49, 0.3), (0.1, -0.2)):
        at_x, at_y = part.centre_x + u * part.size_x, part.centre_y + v * part.size_y
        plane = -1.0 + 0.3 * (at_x + 2.0) / 4.0 - 0.8 * (at_y + 1.0) / 2.0
        assert ground_height(model, data, at_x, at_y) == pytest.approx(plane, abs=1e-5)
    if reach == 9.0:
        np.testing.assert_array_equal(part.heights, whole.heights)
        assert (part.centre_x, part.centre_y) == pytest.approx((0.0, 0.0))


def test_robot_stands_on_a_terrain_and_on_a_flat_one():
    for heights in (np.full((11, 11), 0.7), 0.7 + 0.02 * np.random.default_rng(0).random((11, 11))):
        model = build_model(GO2, SceneConfig(), Heightfield(heights, 4.0, 4.0))
        data = start(model, height=0.7 + GO2.spec.base_height + 0.03)
        for _ in range(300):
            mujoco.mj_step(model, data)
        assert data.qpos[2] - 0.7 == pytest.approx(0.31, abs=0.03)
        assert all(data.sensor(f"{foot}_contact").data[0] for foot in GO2.spec.foot_names)


def test_options_reach_the_model():
    scene = SceneConfig(timestep=0.02, cone="elliptic", integrator="discrete", iterations=7, ls_iterations=9)
    option = build_model(GO1, scene).opt
    assert (option.timestep, option.iterations, option.ls_iterations) == (0.02, 7, 9)
    assert option.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert option.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"collision": "all"}, "unknown collision 'all'; choose from feet, full"),
        ({"cone": "round"}, "unknown cone 'round'; choose from pyramidal, elliptic"),
        ({"integrator": "rk4"}, "unknown integrator 'rk4'; choose from implicitfast, discrete, euler"),
        ({"timestep": 0.0}, "timestep must be positive, got 0.0"),
    ],
)
def test_bad_options_name_the_choices(options, message):
    with pytest.raises(ValueError, match=message):
        SceneConfig(**options)


def test_bad_heightfields():
    with pytest.raises(ValueError, match=r"\(rows, cols\)"):
        Heightfield(np.zeros(5), 1.0, 1.0)
    with pytest.raises(ValueError, match="finite"):
        Heightfield(np.full((3, 3), np.nan), 1.0, 1.0)
    with pytest.raises(ValueError, match="positive size"):
        Heightfield(np.zeros((3, 3)), 0.0, 1.0)


@pytest.mark.warp
@pytest.mark.parametrize("collision", ["feet", "full"])
@pytest.mark.parametrize("terrain", [None, ramp()])
def test_warp_accepts_the_model(collision, terrain):
    warp = pytest.importorskip("mujoco_warp")
    model = build_model(GO2, SceneConfig(collision=collision), terrain)
    assert warp.put_model(model).nsensor == model.nsensor


@pytest.mark.render
def test_the_tracking_camera_sees_the_robot():
    model = build_model(GO2, SceneConfig())
    data = start(model)
    mujoco.mj_forward(model, data)
    try:
        renderer = mujoco.Renderer(model, 180, 320)
    except Exception as error:  # no OpenGL at all; its class depends on the backend
        pytest.skip(f"no off-screen rendering: {error}")
    renderer.enable_segmentation_rendering()
    renderer.update_scene(data, "track")
    ids = renderer.render()[..., 0]
    renderer.close()
    robot = np.isin(ids, np.flatnonzero(model.geom_bodyid > 0))
    assert 0.03 < robot.mean() < 0.5
    assert robot[60:150, 80:240].sum() > 0.9 * robot.sum()  # in the middle of the frame
