"""The height scan on ground whose heights are known."""

import math

import pytest
import torch

from envs.mdp.frames import from_yaw
from envs.mdp.scan import HeightScan, ScanConfig

CPU = torch.device("cpu")


def qpos(x=0.0, y=0.0, z=0.3, heading=0.0):
    return torch.cat([torch.tensor([[x, y, z]]), from_yaw(torch.tensor([heading]))], -1)


def test_points_turn_with_the_heading():
    """On ground that rises with y, a robot facing +y finds it rising ahead, and level to its sides."""
    scan = HeightScan(ScanConfig(half_x=0.4, half_y=0.2, spacing=0.2), CPU)
    seen = scan(qpos(heading=math.pi / 2), lambda xy: xy[..., 1], nominal=0.3).reshape(5, 3)
    torch.testing.assert_close(seen, -torch.tensor([-0.4, -0.2, 0.0, 0.2, 0.4])[:, None].expand(5, 3))


def test_mirror_swaps_left_and_right():
    scan = HeightScan(ScanConfig(half_x=0.2, half_y=0.4, spacing=0.2), CPU)
    left = scan(qpos(), lambda xy: xy[..., 1], nominal=0.3)
    right = scan(qpos(), lambda xy: -xy[..., 1], nominal=0.3)
    torch.testing.assert_close(scan.mirror(left), right)


def test_no_scan_is_empty():
    scan = HeightScan(None, CPU)
    assert scan(qpos(), lambda xy: xy[..., 0], 0.3).shape == (1, 0)
    assert scan.mirror.index == ()


def test_a_grid_without_a_mirror_image_is_refused():
    with pytest.raises(ValueError, match="half_y must be a multiple"):
        ScanConfig(half_y=0.45, spacing=0.2)


def test_bad_grid():
    with pytest.raises(ValueError, match="spacing"):
        ScanConfig(spacing=0.0)
