"""Generated terrain: shapes by hand, interpolation, and the curriculum."""

import math

import numpy as np
import pytest
import torch

from envs.mujoco.terrain import TerrainConfig, TiledGround, generate

CPU = torch.device("cpu")
SMALL = TerrainConfig(
    kinds=("slope_up", "stairs_up"), levels=2, tile_size=4.0, resolution=0.1, border=1.0, start_level=0
)


def ground(config=SMALL, n=4, evaluate=False):
    return TiledGround(config, n, CPU, torch.Generator().manual_seed(0), evaluate)


def test_field_covers_all_tiles_and_the_border():
    heights = generate(SMALL)
    assert heights.shape == (2 * 40 + 20 + 1, 2 * 40 + 20 + 1)
    assert ground().size == pytest.approx((10.0, 10.0))
    assert np.all(heights[:10] == 0) and np.all(heights[:, :10] == 0)


def test_slope_has_the_asked_angle():
    """Half and whole of 20 degrees on the two levels; the rise starts half a platform from the centre."""
    g = ground()
    for level, degrees in ((0, 10.0), (1, 20.0)):
        x = (level - 0.5) * 4.0
        near, far = torch.tensor([[x + 1.0, -2.0], [x + 1.8, -2.0]]).unbind(0)
        rise = float(g.height(far) - g.height(near))
        assert rise == pytest.approx(0.8 * math.tan(math.radians(degrees)), rel=1e-3)


def test_stairs_have_the_asked_step():
    g = ground()
    line = torch.stack([torch.linspace(2.0, 3.9, 400), torch.full((400,), 2.0)], -1)
    heights = np.round(g.height(line).numpy(), 4)
    levels = sorted({h for h in heights if abs(h / 0.1 - round(h / 0.1)) < 1e-3})
    assert levels == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4][: len(levels)]) and len(levels) >= 4


def test_start_is_flat_and_at_the_tile_centre():
    g = ground()
    origin = g.origin(torch.arange(4))
    assert origin[:, 1].tolist() == [-2.0, 2.0, -2.0, 2.0]
    assert origin[:, 2].tolist() == [0.0] * 4
    around = origin[:, None, :2] + torch.tensor([[0.3, 0.3], [-0.3, 0.3]])
    assert float(g.height(around).abs().max()) == 0.0


def test_interpolation_is_bilinear():
    g = ground()
    heights = torch.from_numpy(g.heights).float()
    expected = heights[70:72, 80:82].mean()
    xy = torch.tensor([80.5 * 0.1 - 5.0, 70.5 * 0.1 - 5.0])
    assert float(g.height(xy)) == pytest.approx(float(expected), abs=1e-5)


def test_curriculum_moves_up_down_and_wraps():
    g = ground()
    g.level[:] = torch.tensor([0, 1, 1, 0])
    walked, asked = torch.tensor([3.0, 3.0, 0.1, 0.1]), torch.tensor([4.0, 4.0, 4.0, 4.0])
    g.update_levels(torch.arange(4), walked, asked, torch.Generator().manual_seed(0))
    assert g.level[0] == 1 and g.level[2] == 0 and g.level[3] == 0
    assert 0 <= int(g.level[1]) < 2


def test_evaluation_keeps_levels():
    g = ground(evaluate=True)
    before = g.level.clone()
    g.update_levels(torch.arange(4), torch.full((4,), 9.0), torch.full((4,), 9.0), torch.Generator())
    assert torch.equal(g.level, before)


def test_unknown_kind_names_the_valid_ones():
    with pytest.raises(ValueError, match="stairs_up"):
        TerrainConfig(kinds=("stair",))


def test_level_metrics_of_other_kinds_do_not_apply():
    figures = ground().metrics
    assert torch.isnan(figures["terrain_level/stairs_up"]).tolist() == [True, False, True, False]
