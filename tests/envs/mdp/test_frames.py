"""Rotations against scipy."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from envs.mdp import frames

RNG = np.random.default_rng(0)
QUATS = RNG.normal(size=(32, 4))
QUATS /= np.linalg.norm(QUATS, axis=1, keepdims=True)
VECS = RNG.normal(size=(32, 3))
SCIPY = Rotation.from_quat(QUATS, scalar_first=True)
Q, V = torch.from_numpy(QUATS), torch.from_numpy(VECS)


def test_rotate_takes_body_to_world():
    np.testing.assert_allclose(frames.rotate(Q, V).numpy(), SCIPY.apply(VECS), atol=1e-12)


def test_rotate_inverse_takes_world_to_body():
    np.testing.assert_allclose(frames.rotate_inverse(Q, V).numpy(), SCIPY.inv().apply(VECS), atol=1e-12)


def test_gravity_in_body():
    down = np.tile([0.0, 0.0, -1.0], (32, 1))
    np.testing.assert_allclose(frames.gravity_in_body(Q).numpy(), SCIPY.inv().apply(down), atol=1e-12)


def test_yaw_is_the_first_zyx_angle():
    np.testing.assert_allclose(frames.yaw(Q).numpy(), SCIPY.as_euler("ZYX")[:, 0], atol=1e-9)


def test_from_yaw_round_trip():
    angle = torch.linspace(-3.1, 3.1, 9, dtype=torch.float64)
    torch.testing.assert_close(frames.yaw(frames.from_yaw(angle)), angle)


def test_random_rotations_are_uniform():
    """The body's z axis is uniform on the sphere: its height is U(-1, 1), variance 1/3."""
    normals = torch.randn(20000, 4, generator=torch.Generator().manual_seed(0))
    up = -frames.gravity_in_body(frames.random_rotation(normals))[:, 2]
    assert abs(float(up.mean())) < 0.02
    assert abs(float(up.var()) - 1 / 3) < 0.01
