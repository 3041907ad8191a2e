"""Rotation matrices against MuJoCo and scipy."""

import math

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from envs.mdp import frames, rotations


def vectors(n: int = 20, longest: float = 3.0) -> torch.Tensor:
    random = torch.randn(n, 3, dtype=torch.float64)
    return random / random.norm(dim=-1, keepdim=True) * torch.linspace(0.0, longest, n)[:, None]


def test_from_quat_is_mujocos():
    quat = frames.random_rotation(torch.randn(10, 4, dtype=torch.float64))
    for one, matrix in zip(quat, rotations.from_quat(quat), strict=True):
        expected = np.zeros(9)
        mujoco.mju_quat2Mat(expected, one.numpy())
        np.testing.assert_allclose(matrix.numpy().ravel(), expected, atol=1e-14)


def test_exp_is_scipys_and_log_its_inverse():
    rotvec = vectors()
    matrix = rotations.exp(rotvec)
    np.testing.assert_allclose(matrix.numpy(), Rotation.from_rotvec(rotvec.numpy()).as_matrix(), atol=1e-14)
    torch.testing.assert_close(rotations.log(matrix), rotvec, atol=1e-12, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5])
def test_tiny_angles_keep_their_value(angle):
    rotvec = torch.tensor([[angle, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(rotations.log(rotations.exp(rotvec)), rotvec, atol=1e-16, rtol=1e-9)


def test_about_z_turns_x_towards_y():
    turned = rotations.about_z(torch.tensor([math.pi / 2])) @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-6, rtol=0)
    angles = torch.tensor([-3.0, -0.5, 0.0, 2.0])
    torch.testing.assert_close(rotations.yaw_of(rotations.about_z(angles)), angles)
    torch.testing.assert_close(
        rotations.about_z(angles), rotations.exp(torch.tensor([0.0, 0.0, 1.0]) * angles[:, None])
    )


def test_skew_is_the_cross_product():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    torch.testing.assert_close((rotations.skew(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


def test_six_are_the_first_two_columns():
    matrix = rotations.exp(vectors())
    six = rotations.six(matrix)
    torch.testing.assert_close(six[:, :3], matrix[:, :, 0])
    torch.testing.assert_close(six[:, 3:], matrix[:, :, 1])


def test_wrap_worked_by_hand():
    angles = torch.tensor([0.1, 3.3, -3.3, 2 * math.pi])
    expected = torch.tensor([0.1, 3.3 - 2 * math.pi, 2 * math.pi - 3.3, 0.0])
    torch.testing.assert_close(rotations.wrap(angles), expected)
    quarter = rotations.wrap(torch.tensor([1.0, -1.0]), math.pi / 2)
    torch.testing.assert_close(quarter, torch.tensor([1.0 - math.pi / 2, math.pi / 2 - 1.0]))
