"""The state's base fields against scipy and MuJoCo, leg phases by hand, and rows of a state."""

from dataclasses import fields, replace

import mujoco
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from envs.mdp.state import LeggedState, base_motion, leg_phase

from .states import state

RNG = np.random.default_rng(0)
ROTATION = Rotation.from_quat(RNG.normal(size=(64, 4)))
QPOS = np.concatenate([RNG.normal(size=(64, 3)), ROTATION.as_quat(scalar_first=True), RNG.normal(size=(64, 12))], 1)
QVEL = RNG.normal(size=(64, 18))

# The centre of mass is not in the frame's origin, so that a velocity taken at the wrong one would show.
BODY = """
<mujoco>
  <worldbody>
    <body name="base">
      <freejoint/>
      <inertial pos="0.1 -0.2 0.3" mass="2" diaginertia="0.1 0.2 0.25"/>
    </body>
  </worldbody>
</mujoco>
"""


def motion() -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in base_motion(torch.tensor(QPOS), torch.tensor(QVEL)).items()}


def test_base_motion_turns_world_vectors_into_the_base_frame():
    seen, to_body = motion(), ROTATION.inv()
    np.testing.assert_allclose(seen["lin_vel_b"], to_body.apply(QVEL[:, :3]), atol=1e-12)
    np.testing.assert_allclose(seen["gravity_b"], to_body.apply([0.0, 0.0, -1.0]), atol=1e-12)


def test_base_motion_leaves_what_is_in_its_frame_already():
    seen = motion()
    assert sorted(seen) == ["ang_vel_b", "base_pos_w", "gravity_b", "lin_vel_b"]
    np.testing.assert_array_equal(seen["base_pos_w"], QPOS[:, :3])
    np.testing.assert_array_equal(seen["ang_vel_b"], QVEL[:, 3:6])


def test_base_motion_by_hand():
    """Turned left by a quarter: what goes along world y goes forward. On its right side: down is to its right."""
    half = 0.5**0.5
    qpos = torch.tensor([[1.0, 2.0, 3.0, half, 0.0, 0.0, half], [0.0, 0.0, 0.0, half, half, 0.0, 0.0]])
    qvel = torch.tensor([[0.0, 2.0, 0.5, 7.0, 8.0, 9.0], [0.0, 0.0, -1.0, 0.0, 0.0, 0.0]])
    seen = base_motion(qpos, qvel)
    torch.testing.assert_close(seen["lin_vel_b"], torch.tensor([[2.0, 0.0, 0.5], [0.0, -1.0, 0.0]]))
    torch.testing.assert_close(seen["gravity_b"], torch.tensor([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]))
    assert seen["ang_vel_b"].tolist() == [[7.0, 8.0, 9.0], [0.0, 0.0, 0.0]]


def test_base_motion_reads_a_free_joint_as_mujoco_does():
    model = mujoco.MjModel.from_xml_string(BODY)
    data, velocity, seen = mujoco.MjData(model), np.zeros(6), motion()
    for i in range(8):
        data.qpos[:], data.qvel[:] = QPOS[i, :7], QVEL[i, :6]
        mujoco.mj_forward(model, data)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, model.body("base").id, velocity, 1)
        np.testing.assert_allclose(seen["ang_vel_b"][i], velocity[:3], atol=1e-12)
        np.testing.assert_allclose(seen["lin_vel_b"][i], velocity[3:], atol=1e-12)
        np.testing.assert_allclose(seen["base_pos_w"][i], data.body("base").xpos, atol=1e-12)


def test_leg_phase_by_hand():
    """A walk; each leg is its offset ahead of the clock, and a cycle ends where it began."""
    phase = leg_phase(torch.tensor([0.0, 0.25, 0.875]), torch.tensor([0.0, 0.5, 0.75, 0.25]))
    assert phase.tolist() == [[0.0, 0.5, 0.75, 0.25], [0.25, 0.75, 0.0, 0.5], [0.875, 0.375, 0.625, 0.125]]


def test_leg_phase_of_offsets_outside_a_cycle():
    assert leg_phase(torch.tensor([0.25]), torch.tensor([-0.5, 1.0, 2.5])).tolist() == [[0.75, 0.25, 0.75]]


def numbered(n: int) -> LeggedState:
    """A state in which no two numbers of a field are alike; flags are a chessboard, so neighbouring rows differ."""
    s = state(n, height_scan=torch.zeros(n, 5))
    for field in fields(s):
        value = getattr(s, field.name)
        numbers, width = torch.arange(value.numel()).reshape(value.shape), value[0].numel()
        flags = (numbers // width + numbers % width) % 2 == 0
        setattr(s, field.name, flags if value.dtype == torch.bool else numbers)
    return s


def test_select_takes_the_same_rows_of_every_field():
    s = numbered(5)
    chosen = s.select(torch.tensor([4, 1]))
    for field in fields(s):
        whole, rows = getattr(s, field.name), getattr(chosen, field.name)
        assert rows.dtype == whole.dtype
        assert rows.tolist() == [whole[4].tolist(), whole[1].tolist()], field.name
    assert chosen.friction.tolist() == [4, 1]
    assert chosen.moving.tolist() == [True, False]
    assert chosen.foot_vel_w[1, 0].tolist() == [12, 13, 14]


def test_select_by_flags():
    s = numbered(4)
    assert s.select(s.friction > 1).added_mass.tolist() == [2, 3]
    assert s.select(s.friction > 9).contact.shape == (0, 4)


def test_selected_rows_are_the_callers_own():
    s = numbered(3)
    s.select(torch.tensor([1])).command.fill_(-1)
    assert s.command.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_what_terms_share_by_hand():
    s = state(
        2,
        lin_vel_b=[[0.3, 0.4, 9.0], [0.1, 0.1, 0.0]],
        gravity_b=[[0.6, 0.0, -0.8], [0.06, 0.07, -1.0]],
        ang_vel_b=[[9.0, 9.0, 0.5], [0.0, 0.0, 0.0]],
        command=[[0.0, 0.0, 0.2], [0.4, 0.5, 0.0]],
        moving=[False, False],
    )
    torch.testing.assert_close(s.speed_sq, torch.tensor([0.25, 0.02]))
    torch.testing.assert_close(s.tilt_sq, torch.tensor([0.36, 0.0085]))
    torch.testing.assert_close(s.lin_vel_error_sq, torch.tensor([0.25, 0.25]))
    torch.testing.assert_close(s.yaw_rate_error, torch.tensor([0.3, 0.0]))
    assert s.calm.tolist() == [False, True]
    assert s.standing.tolist() == [True, True] and s.resting.tolist() == [False, True]
    moving = replace(s, moving=torch.tensor([True, True]))
    assert moving.standing.tolist() == moving.resting.tolist() == [False, False]
