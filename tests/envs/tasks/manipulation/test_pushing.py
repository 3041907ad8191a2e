"""The quasi-static model behind the expert of push-T, by hand."""

import math

import torch

from envs.tasks.manipulation.experts import push_t as expert
from envs.tasks.manipulation.push_t import BAR, RECTANGLES, STEM, WIDTH


def one(x: float, y: float) -> torch.Tensor:
    return torch.tensor([[[x, y]]], dtype=torch.float64)


def test_a_push_through_the_centre_moves_without_a_turn():
    motion = expert.slide(one(-0.02, 0.0), one(1.0, 0.0), steps=3)[0, 0]
    expected = torch.tensor([[k * expert.STEP, 0.0, 0.0] for k in (1, 2, 3)], dtype=torch.float64)
    torch.testing.assert_close(motion, expected)


def test_a_push_beside_the_centre_turns_worked_by_hand():
    """At r = (0, -c), along x: a turn of STEP c / (c^2 + c^2), and the centre moves by half the push."""
    motion = expert.slide(one(0.0, -expert.ARM), one(1.0, 0.0), steps=1)[0, 0, 0]
    expected = torch.tensor([expert.STEP / 2, 0.0, expert.STEP / (2 * expert.ARM)], dtype=torch.float64)
    torch.testing.assert_close(motion, expected)


def test_the_contact_sticks():
    """Where the block is touched it moves with the fingers, up to the square of a step's turn."""
    point, way = one(0.05, 0.03), one(math.cos(2.0), math.sin(2.0))
    for k, (x, y, turn) in enumerate(expert.slide(point, way, steps=10)[0, 0].tolist(), 1):
        c, s = math.cos(turn), math.sin(turn)
        px, py = point[0, 0].tolist()
        moved = torch.tensor([x + c * px - s * py - px, y + s * px + c * py - py], dtype=torch.float64)
        torch.testing.assert_close(moved, k * expert.STEP * way[0, 0], atol=1e-3, rtol=0)


def test_distance_worked_by_hand():
    (_, bar_y), (_, half) = RECTANGLES[0]
    points = torch.tensor([[0.0, bar_y], [BAR / 2 + 0.03, bar_y + half + 0.04], [0.0, -1.0]])
    low = -1.0 - (RECTANGLES[1][0][1] - STEM / 2)
    torch.testing.assert_close(expert.distance(points), torch.tensor([0.0, 0.05, -low]))


def test_contacts_are_on_the_outline_and_look_inwards():
    points, normals = expert.contacts()
    assert (expert.distance(points) < 1e-6).all()
    assert (expert.distance(points - 0.01 * normals) > 0.0).all() and (
        expert.distance(points + 0.01 * normals) == 0
    ).all()
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(normals)))
    sides = {tuple(normal) for normal in normals.tolist()}
    assert sides == {(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)}


def test_the_characteristic_length_is_that_of_the_t():
    """The mean distance of the T's points from its centre is 0.053 m; the model's is a little longer."""
    grid = torch.cartesian_prod(torch.linspace(-0.12, 0.12, 241), torch.linspace(-0.12, 0.12, 241))
    inside = grid[expert.distance(grid) == 0]
    assert len(inside) * 1e-6 > 0.95 * WIDTH * (BAR + STEM)
    torch.testing.assert_close(inside.norm(dim=-1).mean(), torch.tensor(0.0533), atol=5e-4, rtol=0)
    assert 1.0 < expert.ARM / 0.0533 < 1.2
