"""Generated terrain: shapes by hand, interpolation, and the curriculum."""

import math

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.terrain import TILES, Ground, TerrainConfig, TiledGround, generate

CPU = torch.device("cpu")
SMALL = TerrainConfig(
    kinds=("slope_up", "stairs_up"), levels=2, tile_size=4.0, resolution=0.1, border=1.0, start_level=0
)

NOBODY = torch.zeros(4, dtype=torch.bool)


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
    assert levels == pytest.approx([-0.4, -0.3, -0.2, -0.1, 0.0])


def test_start_is_flat_and_at_the_tile_centre():
    g = ground()
    origin = g.origin(torch.arange(4))
    assert origin[:, 1].tolist() == [-2.0, 2.0, -2.0, 2.0]
    around = origin[:, None, :2] + torch.tensor([[0.3, 0.3], [-0.3, 0.3]])
    torch.testing.assert_close(g.height(around), origin[:, 2:].expand(4, 2))


@pytest.mark.parametrize("kind", TILES)
def test_tiles_end_at_the_height_of_their_neighbours(kind):
    """No cliff between tiles, nor to the border: at most an obstacle's height, twice if one faces another."""
    c = TerrainConfig(kinds=(kind, "flat"), levels=2, tile_size=4.0, resolution=0.1, border=1.0, start_level=0)
    heights = generate(c)
    for edge in (10, 50, 90):
        assert np.abs(heights[edge] - heights[edge - 1]).max() < 0.2 + 1e-9
        assert np.abs(heights[:, edge] - heights[:, edge - 1]).max() < 0.2 + 1e-9


def test_heights_are_those_that_the_simulator_collides_with():
    """Against MuJoCo's rays, on heights where the two ways to cut a cell into triangles are far apart."""
    g = ground()
    rows, columns = g.heights.shape
    g._grid = torch.rand(rows, columns, generator=torch.Generator().manual_seed(0)) * 0.2
    g._grid[0, :2] = torch.tensor([0.0, 0.2])  # MuJoCo takes the range of the data
    spec = mujoco.MjSpec()
    data = (g._grid / 0.2).flatten().tolist()
    spec.add_hfield(name="field", nrow=rows, ncol=columns, size=[5.0, 5.0, 0.2, 1.0], userdata=data)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="field")
    model = spec.compile()
    state, geom = mujoco.MjData(model), np.zeros(1, np.int32)
    mujoco.mj_forward(model, state)
    points = 9.8 * torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) - 4.9
    rays = [2.0 - mujoco.mj_ray(model, state, [x, y, 2.0], [0, 0, -1], None, 1, -1, geom) for x, y in points.tolist()]
    torch.testing.assert_close(g.height(points), torch.tensor(rays), atol=1e-4, rtol=0)


def test_a_broken_world_has_some_height():
    assert torch.isfinite(ground().height(torch.full((3, 2), torch.nan))).all()


def test_the_field_has_an_end():
    at = torch.tensor([[0.0, 0.0], [4.4, -4.4], [4.6, 0.0], [0.0, -4.6], [torch.nan, 0.0]])
    assert ground().outside(at).tolist() == [False, False, True, True, False]
    assert Ground().outside(at) is None


def test_curriculum_moves_up_down_and_wraps():
    g = ground()
    g.level[:] = torch.tensor([0, 1, 1, 0])
    walked, asked = torch.tensor([3.0, 3.0, 0.1, 0.1]), torch.tensor([4.0, 4.0, 4.0, 4.0])
    g.update_levels(torch.arange(4), walked, asked, NOBODY, torch.Generator().manual_seed(0))
    assert g.level[0] == 1 and g.level[2] == 0 and g.level[3] == 0
    assert 0 <= int(g.level[1]) < 2


@pytest.mark.parametrize(
    ("walked", "asked", "fell", "level"),
    [
        (1.2, 1.4, False, 2),  # 0.86 of what it was asked to, beyond the quarter of a tile of 4 m
        (1.2, 1.6, False, 1),  # 0.75
        (0.9, 1.0, False, 1),  # still on the flat start
        (2.1, 9.0, False, 2),  # half a tile is enough; 2.1 m is less than half of 9 m
        (1.9, 9.0, False, 0),
        (1.9, 3.0, False, 1),
        (2.1, 2.0, True, 0),  # it came far, and fell
        (0.9, 4.0, False, 0),
    ],
)
def test_the_level_follows_what_was_covered_of_what_was_asked(walked, asked, fell, level):
    config = TerrainConfig(kinds=("flat",), levels=4, tile_size=4.0, resolution=0.5, border=1.0, start_level=1)
    g = ground(config, n=1)
    g.level[:] = 1
    one = torch.tensor
    g.update_levels(one([0]), one([walked]), one([asked]), one([fell]), torch.Generator())
    assert g.level.tolist() == [level]


def test_restart_draws_the_levels_of_a_fresh_ground():
    config = TerrainConfig(kinds=("flat",), levels=10, start_level=9, tile_size=2.0, resolution=0.5, border=1.0)
    g = ground(config, n=64)
    fresh = g.level.clone()
    g.level[:] = 3
    g.restart(0)
    assert torch.equal(g.level, fresh) and len(fresh.unique()) > 5
    g.restart(1)
    assert not torch.equal(g.level, fresh)


def test_evaluation_goes_through_all_tiles_and_keeps_levels():
    g = ground(evaluate=True)
    tiles = [(int(kind), int(level)) for kind, level in zip(g.kind, g.level, strict=True)]
    assert tiles == [(0, 0), (1, 0), (0, 1), (1, 1)] and not g.curriculum
    before = g.level.clone()
    g.update_levels(torch.arange(4), torch.full((4,), 9.0), torch.full((4,), 9.0), NOBODY, torch.Generator())
    g.restart(3)
    assert torch.equal(g.level, before)


def test_unknown_kind_names_the_valid_ones():
    with pytest.raises(ValueError, match="stairs_up"):
        TerrainConfig(kinds=("stair",))


def test_level_metrics_of_other_kinds_do_not_apply():
    figures = ground().metrics
    assert torch.isnan(figures["terrain_level/stairs_up"]).tolist() == [True, False, True, False]


def test_in_evaluation_a_figure_is_split_by_tile():
    g = ground(evaluate=True)  # kinds and levels (0, 0), (1, 0), (0, 1), (1, 1)
    one, two = g.config.kinds
    found = g.split("fall", torch.tensor([1.0, 2.0, 3.0, 4.0]))
    told = {name: x[~x.isnan()].tolist() for name, x in found.items()}
    assert told == {
        f"{one}/fall": [1.0, 3.0],
        f"{two}/fall": [2.0, 4.0],
        "level_0/fall": [1.0, 2.0],
        "level_1/fall": [3.0, 4.0],
        f"{one}/top/fall": [3.0],
        f"{two}/top/fall": [4.0],
    }
    assert ground().split("fall", torch.zeros(4)) == {}
