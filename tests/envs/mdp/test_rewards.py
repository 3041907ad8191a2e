"""Each reward term on states worked by hand."""

import math

import pytest
import torch

from envs.mdp import rewards

from .states import state


def value(term, *args, **kwargs) -> float:
    return float(term(*args, **kwargs)[0])


def test_track_lin_vel_ignores_the_vertical():
    s = state(lin_vel_b=[[0.8, 0.1, 5.0]], command=[[0.5, 0.1, 0.0]])
    assert value(rewards.track_lin_vel, s, sigma=0.25) == pytest.approx(math.exp(-0.09 / 0.25))


def test_track_ang_vel():
    s = state(ang_vel_b=[[9.0, 9.0, 0.5]], command=[[0.0, 0.0, 1.0]])
    assert value(rewards.track_ang_vel, s, sigma=0.5) == pytest.approx(math.exp(-0.5))


def test_penalties_are_sums_of_squares():
    s = state(
        lin_vel_b=[[1.0, 1.0, -2.0]],
        ang_vel_b=[[1.0, 2.0, 3.0]],
        gravity_b=[[0.6, 0.0, -0.8]],
        action=torch.full((1, 12), 0.5),
        action_1=torch.full((1, 12), 0.2),
        action_2=torch.full((1, 12), 0.1),
        torque=torch.full((1, 12), -2.0),
        joint_vel=torch.full((1, 12), 3.0),
    )
    assert value(rewards.lin_vel_z, s) == 4.0
    assert value(rewards.ang_vel_xy, s) == 5.0
    assert value(rewards.orientation, s) == pytest.approx(0.36)
    assert value(rewards.action_rate, s) == pytest.approx(12 * 0.09)
    assert value(rewards.action_smoothness, s) == pytest.approx(12 * 0.2**2)
    assert value(rewards.torque, s) == 48.0
    assert value(rewards.energy, s) == 72.0
    assert value(rewards.joint_velocity, s) == 108.0


def test_base_height_and_pose():
    s = state(base_height=[0.25], joint_offset=torch.full((1, 12), -0.1))
    assert value(rewards.base_height, s, target=0.3) == pytest.approx(0.0025)
    assert value(rewards.pose, s, standing_scale=2.0) == pytest.approx(0.2)
    moving = state(joint_offset=torch.full((1, 12), -0.1), moving=[True])
    assert value(rewards.pose, moving, standing_scale=2.0) == pytest.approx(0.1)


def test_hip_deviation_looks_at_abduction_only():
    offset = torch.tensor([[0.2, 9.0, 9.0] * 4])
    assert value(rewards.hip_deviation, state(joint_offset=offset)) == pytest.approx(0.04)


def test_joint_limits_start_before_the_limit():
    low, high = torch.full((12,), -1.0), torch.full((12,), 1.0)
    position = torch.zeros(1, 12)
    position[0, 0], position[0, 1] = 1.02, -0.97
    expected = (1.02 - 1.0 + 0.05) + (-1.0 + 0.05 + 0.97)
    assert value(rewards.joint_limits, state(joint_pos=position), low, high, margin=0.05) == pytest.approx(expected)


def test_gait_contact_counts_agreeing_feet():
    phase, contact = [[0.1, 0.7, 0.7, 0.1]], [[True, False, True, True]]
    assert value(rewards.gait_contact, state(phase=phase, contact=contact, moving=[True]), duty=0.6) == 0.75
    assert value(rewards.gait_contact, state(phase=phase, contact=contact), duty=0.6) == 0.75


def test_a_robot_that_brakes_may_step():
    contact = [[True, False, False, True]]
    braking = state(contact=contact, lin_vel_b=[[0.5, 0.0, 0.0]])
    assert braking.calm.tolist() == [False]
    assert value(rewards.gait_contact, braking, duty=0.6) == 1.0
    tilted = state(contact=contact, gravity_b=[[0.2, 0.0, -0.98]])
    assert value(rewards.gait_contact, tilted, duty=0.6) == 1.0
    assert state().calm.tolist() == [True]
    assert value(rewards.gait_contact, state(contact=contact), duty=0.6) == 0.5
    bent = {"joint_offset": torch.full((1, 12), 0.1)}
    assert value(rewards.pose, state(**bent), standing_scale=2.0) == pytest.approx(0.2)
    assert value(rewards.pose, state(lin_vel_b=[[0.5, 0.0, 0.0]], **bent), standing_scale=2.0) == pytest.approx(0.1)


def test_swing_terms_peak_in_mid_swing():
    at_peak = state(phase=[[0.8, 0.0, 0.0, 0.0]], foot_height=[[0.09, 0.0, 0.0, 0.0]], moving=[True])
    assert value(rewards.swing_height, at_peak, duty=0.6, height=0.09) == pytest.approx(0.0, abs=1e-9)
    assert value(rewards.swing_peak, at_peak, duty=0.6, height=0.09) == pytest.approx(1.0)
    dragging = state(phase=[[0.8, 0.0, 0.0, 0.0]], moving=[True])
    assert value(rewards.swing_height, dragging, duty=0.6, height=0.09) == pytest.approx(0.0081)
    assert value(rewards.swing_peak, dragging, duty=0.6, height=0.09, sigma=0.03) == pytest.approx(
        math.exp(-9), rel=1e-4
    )
    assert value(rewards.swing_peak, state(phase=[[0.8] * 4]), duty=0.6, height=0.09) == 1.0


def test_slip_and_impact():
    velocity = torch.zeros(1, 4, 3)
    velocity[0, 0] = torch.tensor([0.3, 0.4, -1.0])
    velocity[0, 1] = torch.tensor([1.0, 0.0, 2.0])
    contact = [[True, False, True, True]]
    landed = [[True, True, False, False]]
    s = state(foot_vel_w=velocity, contact=contact, landed=landed)
    assert value(rewards.foot_slip, s) == pytest.approx(0.25)
    assert value(rewards.foot_impact, s) == pytest.approx(1.0)


def test_air_time_is_paid_at_touch_down_while_moving():
    fields = {"air_time": [[0.3, 0.5, 0.0, 0.0]], "landed": [[True, False, False, False]]}
    assert value(rewards.air_time, state(moving=[True], **fields), target=0.2) == pytest.approx(0.1)
    assert value(rewards.air_time, state(**fields), target=0.2) == 0.0


def test_standing_terms():
    s = state(joint_offset=torch.full((1, 12), 0.1), body_contact=[3.0])
    assert value(rewards.stand_still, s) == pytest.approx(1.2)
    assert value(rewards.body_contact, s) == 3.0
    assert value(rewards.alive, s) == 1.0


def test_getting_up_terms():
    down = state(gravity_b=[[0.0, 0.0, 1.0]])
    side = state(gravity_b=[[0.0, 1.0, 0.0]], base_height=[0.15])
    assert value(rewards.upright, down) == 0.0
    assert value(rewards.upright, side) == 0.5
    assert value(rewards.upright, state()) == 1.0
    assert value(rewards.height_reached, side, target=0.3) == pytest.approx(0.25)
    assert value(rewards.stance_reached, side) == 0.0
    bent = state(joint_offset=torch.full((1, 12), 0.5), joint_vel=torch.full((1, 12), 2.0))
    assert value(rewards.stance_reached, bent, sigma=0.25) == pytest.approx(math.exp(-1))
    assert value(rewards.rest, bent, sigma=1.0) == pytest.approx(math.exp(-4))
