"""Each observation term on states worked by hand, and what it says of itself to a robot and to a mirror."""

from typing import Any

import pytest
import torch

from envs.mdp import observations
from envs.mdp.observations import TermInfo
from envs.mdp.terms import bind

from .states import state

CLOCK = {"frequency": 2.0, "offset": 0.0, "dead_band": 0.1, "settle_s": 0.8}
GRID = {"half_x": 0.2, "half_y": 0.0, "spacing": 0.2}
JOINTS = [0.1 * i for i in range(12)]

# term -> unit, frame, mirror, measured, sensed
INFO = {
    "base_ang_vel": ("rad/s", "base", "axial", True, True),
    "projected_gravity": ("1", "base", "polar", True, True),
    "command": ("m/s, m/s, rad/s", "base", "planar_command", True, False),
    "joint_pos": ("rad", "joint", "joint", True, True),
    "joint_vel": ("rad/s", "joint", "joint", True, True),
    "last_action": ("1", "joint", "joint", True, False),
    "gait_clock": ("1", "-", "gait", True, False),
    "height_scan": ("m", "heading", "scan", True, True),
    "base_lin_vel": ("m/s", "base", "polar", False, True),
    "base_height": ("m", "world", "none", False, True),
    "foot_contact": ("1", "-", "leg", False, True),
    "foot_height": ("m", "world", "leg", False, True),
    "foot_air_time": ("s", "-", "leg", False, True),
    "torque": ("N m", "joint", "joint", False, True),
    "friction": ("1", "-", "none", False, True),
    "added_mass": ("kg", "-", "none", False, True),
    "com_shift": ("m", "base", "polar", False, True),
    "stiffness": ("1", "-", "motor", False, True),
    "damping": ("1", "-", "motor", False, True),
    "link_mass": ("1", "-", "link", False, True),
    "encoder_bias": ("rad", "joint", "joint", False, True),
    "action_delay": ("s", "-", "none", False, True),
    "observation_delay": ("s", "-", "none", False, True),
}

# term -> fields of two robots, what they observe. Fields that could be mistaken for the right one differ from it.
VALUES: dict[str, tuple[dict[str, Any], list]] = {
    "base_ang_vel": ({"ang_vel_b": [[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]]}, [[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]]),
    "projected_gravity": ({"gravity_b": [[0.6, 0.0, -0.8], [0.0, 1.0, 0.0]]}, [[0.6, 0.0, -0.8], [0.0, 1.0, 0.0]]),
    "command": ({"command": [[0.5, -0.2, 0.8], [0.0, 0.0, 0.0]]}, [[0.5, -0.2, 0.8], [0.0, 0.0, 0.0]]),
    "joint_pos": (
        {"joint_pos": [[9.0] * 12] * 2, "joint_offset": [JOINTS] * 2, "encoder_bias": [[0.02] * 12, [-0.1] * 12]},
        [[x + 0.02 for x in JOINTS], [x - 0.1 for x in JOINTS]],
    ),
    "joint_vel": ({"joint_vel": [JOINTS, [3.0] * 12]}, [JOINTS, [3.0] * 12]),
    "last_action": (
        {"action": [JOINTS, [-0.5] * 12], "action_1": [[7.0] * 12] * 2, "action_2": [[8.0] * 12] * 2},
        [JOINTS, [-0.5] * 12],
    ),
    "gait_clock": (
        {"phase": [[0.25, 0.75, 0.75, 0.25], [0.5, 0.0, 0.0, 0.5]], "moving": [True, True]},
        [[1.0, 0.0], [0.0, -1.0]],
    ),
    "height_scan": ({"height_scan": [[0.1, 0.0, -0.1], [0.2, 0.3, 0.4]]}, [[0.1, 0.0, -0.1], [0.2, 0.3, 0.4]]),
    "base_lin_vel": ({"lin_vel_b": [[0.8, 0.1, -0.3], [1.0, 0.0, 0.0]]}, [[0.8, 0.1, -0.3], [1.0, 0.0, 0.0]]),
    "base_height": (
        {"base_height": [0.25, 0.31], "base_pos_w": [[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]},
        [[0.25], [0.31]],
    ),
    "foot_contact": (
        {"contact": [[True, False, False, True], [False, True, True, True]], "landed": [[True] * 4] * 2},
        [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]],
    ),
    "foot_height": (
        {"foot_height": [[0.0, 0.08, 0.07, 0.0], [0.01, 0.02, 0.03, 0.04]]},
        [[0.0, 0.08, 0.07, 0.0], [0.01, 0.02, 0.03, 0.04]],
    ),
    "foot_air_time": (
        {"air_time": [[0.0, 0.2, 0.3, 0.0], [0.1, 0.0, 0.0, 0.1]]},
        [[0.0, 0.2, 0.3, 0.0], [0.1, 0.0, 0.0, 0.1]],
    ),
    "torque": ({"torque": [[23.7] * 12, JOINTS]}, [[23.7] * 12, JOINTS]),
    "friction": ({"friction": [0.3, 1.25]}, [[0.3], [1.25]]),
    "added_mass": ({"added_mass": [-1.5, 2.5]}, [[-1.5], [2.5]]),
    "com_shift": ({"com_shift": [[0.05, -0.02, 0.01], [0.0, 0.03, 0.0]]}, [[0.05, -0.02, 0.01], [0.0, 0.03, 0.0]]),
    "stiffness": ({"stiffness": [JOINTS, [0.9] * 12]}, [JOINTS, [0.9] * 12]),
    "damping": ({"damping": [JOINTS, [0.9] * 12]}, [JOINTS, [0.9] * 12]),
    "link_mass": ({"link_mass": [JOINTS, [1.1] * 12]}, [JOINTS, [1.1] * 12]),
    "encoder_bias": ({"encoder_bias": [JOINTS, [-0.1] * 12], "joint_offset": [JOINTS] * 2}, [JOINTS, [-0.1] * 12]),
    "action_delay": ({"action_delay": [0.0, 0.02]}, [[0.0], [0.02]]),
    "observation_delay": ({"observation_delay": [0.0, 0.02]}, [[0.0], [0.02]]),
}


def observe(name, s):
    return bind(observations, name, {}, CLOCK | GRID)(s)


def test_every_term_is_pinned_here():
    terms = {name for name, value in vars(observations).items() if hasattr(value, "info")}
    assert terms == set(INFO) == set(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_value(name):
    fields, expected = VALUES[name]
    seen = observe(name, state(2, **fields))
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, torch.tensor(expected), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("name", INFO)
def test_what_a_term_says_of_itself(name):
    assert getattr(observations, name).info == TermInfo(*INFO[name])


def test_the_gait_clock_is_that_of_the_first_leg():
    """A third of a cycle is 120 degrees, whatever the other legs do."""
    s = state(2, phase=[[1 / 3, 0.9, 0.1, 0.2], [1 / 3, 0.0, 0.5, 0.7]], moving=[True, True])
    torch.testing.assert_close(observe("gait_clock", s), torch.tensor([[0.75**0.5, -0.5]]).expand(2, 2))


def test_the_gait_clock_of_a_robot_that_stands_is_off_the_circle():
    s = state(2, phase=[[0.25] * 4] * 2, moving=[True, False])
    torch.testing.assert_close(observe("gait_clock", s), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_a_task_without_a_scan_sees_none():
    assert observe("height_scan", state(3)).shape == (3, 0)
