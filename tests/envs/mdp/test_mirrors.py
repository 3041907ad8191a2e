"""Reflections of legs and of the gait's clock."""

import pytest
import torch

from envs.mdp.mirrors import gait_mirror, leg_mirror

LEGS = ("FR", "FL", "RR", "RL")


def test_left_and_right_legs_change_places():
    assert leg_mirror(LEGS)(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [2.0, 1.0, 4.0, 3.0]


@pytest.mark.parametrize(
    ("offsets", "sign"),
    [
        ((0.0, 0.5, 0.5, 0.0), (-1.0, -1.0)),  # trot
        ((0.0, 0.5, 0.0, 0.5), (-1.0, -1.0)),  # pace
        ((0.0, 0.5, 0.75, 0.25), (-1.0, -1.0)),  # walk
        ((0.0, 0.0, 0.5, 0.5), (1.0, 1.0)),  # bound
        ((0.0, 1.0, 0.5, 0.5), (1.0, 1.0)),  # bound, a cycle later
    ],
)
def test_the_clock_of_symmetric_gaits(offsets, sign):
    assert gait_mirror(torch.tensor(offsets), LEGS).sign == sign


def test_a_gallop_has_no_mirror_image():
    assert gait_mirror(torch.tensor([0.0, 0.1, 0.5, 0.6]), LEGS) is None


def test_what_has_no_counterpart_stays():
    names = ("base", "FL_hip", "head", "FR_hip", "RL_hip", "x")
    assert leg_mirror(names).index == (0, 3, 2, 1, 4, 5)
