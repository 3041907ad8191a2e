"""What each task counts as success, on states put together by hand; and the geometry behind it."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch

import envs
from envs.mdp import rotations
from envs.tasks.manipulation import layout, push_t
from envs.tasks.manipulation.state import TableState


def ready(task: str, n: int = 2, **overrides):
    """An environment and its state just after a reset."""
    env = envs.make(task, num_worlds=n, num_threads=1, overrides=overrides)
    env.reset(seed=0)
    return env, env.read()


def put(s: TableState, index: int, position: torch.Tensor, yaw: float | torch.Tensor = 0.0) -> TableState:
    """The state with an object elsewhere, at rest."""
    object_pos, object_rot = s.object_pos.clone(), s.object_rot.clone()
    object_pos[:, index] = position
    object_rot[:, index] = rotations.about_z(torch.as_tensor(yaw).expand(len(object_pos)))
    still = torch.zeros_like(s.object_lin_vel)
    return dataclasses.replace(
        s, object_pos=object_pos, object_rot=object_rot, object_lin_vel=still, object_ang_vel=still
    )


def moving(s: TableState) -> TableState:
    return dataclasses.replace(s, object_lin_vel=torch.full_like(s.object_lin_vel, 0.1))


def fingers(s: TableState, opening: float) -> TableState:
    return dataclasses.replace(s, finger_pos=torch.full_like(s.finger_pos, opening / 2))


def shifted(point: torch.Tensor, x: float = 0.0, z: float = 0.0) -> torch.Tensor:
    return point + point.new_tensor([x, 0.0, z])


def test_reach_within_its_tolerance():
    env, s = ready("reach")
    assert env.success(dataclasses.replace(s, hand_pos=shifted(s.goal, 0.019))).all()
    assert not env.success(dataclasses.replace(s, hand_pos=shifted(s.goal, 0.021))).any()


def test_reach_goals_fill_their_box():
    env, s = ready("reach", 512)
    low, high = torch.tensor(env.options.low), torch.tensor(env.options.high)
    assert ((s.goal >= low) & (s.goal <= high)).all()
    torch.testing.assert_close(s.goal.mean(0), (low + high) / 2, atol=0.02, rtol=0)


def test_push_wants_the_cube_at_rest_on_the_goal():
    env, s = ready("push")
    goal = layout.on_table(s.goal, 0.025)
    assert env.success(put(s, 0, shifted(goal, 0.024))).all()
    assert not env.success(put(s, 0, shifted(goal, 0.026))).any()
    assert not env.success(moving(put(s, 0, goal))).any()


@pytest.mark.parametrize(("task", "first", "second"), [("push", 0, None), ("stack", 0, 1), ("peg_insertion", 0, 1)])
def test_what_starts_apart_is_apart(task, first, second):
    env, s = ready(task, 512)
    other = s.goal if second is None else s.object_pos[:, second, :2]
    gap = (s.object_pos[:, first, :2] - other).norm(dim=-1)
    least, most = env.options.distance
    assert gap.min() > least - 1e-6 and gap.max() < most + 1e-6
    low, high = torch.tensor(env.options.low), torch.tensor(env.options.high)
    assert ((s.object_pos[:, first, :2] >= low) & (s.object_pos[:, first, :2] <= high)).all()


def test_apart_takes_the_first_fit_and_else_the_nearest():
    low, high = torch.zeros(2), torch.ones(2)
    tries = torch.tensor([[[0.0, 0.0, 0.9, 0.0], [0.0, 0.0, 0.4, 0.0], [0.1, 0.0, 0.5, 0.0]]])
    first, second = layout.apart(low, high, (0.3, 0.5), tries)
    torch.testing.assert_close(torch.cat([first, second], -1), torch.tensor([[0.0, 0.0, 0.4, 0.0]]))
    first, second = layout.apart(low, high, (0.42, 0.6), tries)  # 0.9, 0.4 and 0.4 m: none fits, the second is nearest
    torch.testing.assert_close(torch.cat([first, second], -1), torch.tensor([[0.0, 0.0, 0.4, 0.0]]))


def test_pick_wants_the_cube_at_rest_at_the_goal():
    env, s = ready("pick_cube")
    assert env.success(put(s, 0, shifted(s.goal, z=0.024))).all()
    assert not env.success(put(s, 0, shifted(s.goal, z=0.026))).any()
    assert not env.success(moving(put(s, 0, s.goal))).any()


def test_held_is_between_closed_fingers():
    env, s = ready("pick_cube")
    at_hand = put(s, 0, s.hand_pos)
    assert fingers(at_hand, 0.04).held(0, 0.02).all()
    assert not fingers(at_hand, 0.06).held(0, 0.02).any()
    assert not fingers(s, 0.04).held(0, 0.02).any()  # the cube lies on the table
    assert env.progress(fingers(at_hand, 0.04)).min() > env.progress(s).max() + 0.2


def test_stack_wants_one_on_the_other_and_the_fingers_off():
    env, s = ready("stack")
    on = put(s, 0, shifted(s.object_pos[:, 1], 0.01, 0.04))
    assert env.success(fingers(on, 0.08)).all()
    assert not env.success(fingers(on, 0.04)).any()
    assert not env.success(fingers(moving(on), 0.08)).any()
    assert not env.success(fingers(put(s, 0, shifted(s.object_pos[:, 1], 0.016, 0.04)), 0.08)).any()
    assert not env.success(fingers(put(s, 0, shifted(s.object_pos[:, 1], 0.0, 0.047)), 0.08)).any()
    torch.testing.assert_close(env.progress(fingers(on, 0.08)) >= 0.75, torch.tensor([True, True]))


def test_peg_wants_depth_and_a_hole():
    env, s = ready("peg_insertion")
    o = env.options
    block = s.object_pos[:, 1]
    down = o.height - o.depth + o.half_length  # centre of a peg that is just deep enough
    assert env.success(put(s, 0, shifted(block, z=down - 0.001))).all()
    assert not env.success(put(s, 0, shifted(block, z=down + 0.001))).any()
    assert not env.success(put(s, 0, shifted(block, 0.07, down - 0.01))).any()  # beside the block, as low
    tip = env.tip_in_block(put(s, 0, shifted(block, z=o.height + o.half_length)))
    torch.testing.assert_close(tip, torch.zeros(2, 3), atol=1e-6, rtol=0)


def test_the_peg_fits_into_the_hole_and_stays():
    """Let go over the hole it slides in; 2 mm of clearance hold it upright."""
    env, s = ready("peg_insertion")
    env.autoreset = False
    qpos, block = env.physics.field("qpos"), s.object_pos[:, 1].double()
    qpos[:, 9:12] = block + torch.tensor([0.0, 0.0, env.options.height + env.options.half_length - 0.01])
    qpos[:, 12:16] = qpos[:, 19:23]
    result = None
    for _ in range(30):
        result = env.step(torch.zeros(2, 1, 5))
    assert result.terminated.all()
    assert env.tip_in_block(env.read())[:, 2].max() < -0.04


def test_a_peg_beyond_the_block_is_an_error():
    for options, message in (
        ({"block": 0.01}, "does not fit"),
        ({"depth": 0.05}, "deep"),
        ({"clearance": 0.0}, "above"),
    ):
        with pytest.raises(ValueError, match=message):
            ready("peg_insertion", options=options)


# Push-T -------------------------------------------------------------------------------------------------------------


def opencv_overlap(pose: list[float], goal: list[float]) -> float:
    """The same area by OpenCV's rotated rectangles, bar and stem of one with bar and stem of the other."""

    def rectangles(x, y, yaw):
        c, s = math.cos(yaw), math.sin(yaw)
        return [
            ((1e3 * (x + c * u - s * v), 1e3 * (y + s * u + c * v)), (2e3 * a, 2e3 * b), math.degrees(yaw))
            for (u, v), (a, b) in push_t.RECTANGLES
        ]

    area = 0.0
    for one in rectangles(*pose):
        for other in rectangles(*goal):
            found, points = cv2.rotatedRectangleIntersection(one, other)
            area += cv2.contourArea(cv2.convexHull(points)) / 1e6 if found else 0.0
    return area / (push_t.WIDTH * (push_t.BAR + push_t.STEM))


def test_overlap_is_opencvs():
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(60, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.05, 0.05, 2.0])
    goal = torch.randn(60, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.02, 0.02, 2.0])
    expected = [opencv_overlap(a, b) for a, b in zip(pose.tolist(), goal.tolist(), strict=True)]
    np.testing.assert_allclose(push_t.overlap(pose, goal), expected, atol=1e-4)
    assert max(expected) > 0.4


def test_overlap_worked_by_hand():
    """The same place: all of it. A shift of 1 cm along the bar: bar and stem lose 1 cm of their width each way."""
    zero = torch.zeros(1, 3)
    torch.testing.assert_close(push_t.overlap(zero, zero), torch.ones(1))
    shift = torch.tensor([[0.01, 0.0, 0.0]])
    expected = 1 - (0.01 * 0.04 + 0.01 * 0.12) / 0.0112
    torch.testing.assert_close(push_t.overlap(shift, zero), torch.tensor([expected]))
    torch.testing.assert_close(push_t.overlap(shift + 1.0, zero), torch.zeros(1))


def test_area_in_rectangle_worked_by_hand():
    """A square of side 2 that is turned by 45 degrees in a band of half-width 0.5: all but two triangles."""
    diamond = math.sqrt(2) * torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]])
    cut = (math.sqrt(2) - 0.5) ** 2
    torch.testing.assert_close(push_t.area_in_rectangle(diamond, (0.5, 9.0)), torch.tensor([4 - 2 * cut]))


def test_the_frame_is_the_centre_of_mass():
    env, _ = ready("push_t")
    body = env.physics.model.body("tee")
    np.testing.assert_allclose(body.ipos, 0, atol=1e-9)
    assert body.mass[0] == pytest.approx(0.2)


def test_push_t_wants_nine_tenths():
    env, s = ready("push_t")
    goal = layout.on_table(s.goal[:, :2], 0.02)
    yaw = float(s.goal[0, 2])
    assert env.success(put(s, 0, goal, yaw)).all()
    along = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0])
    assert env.success(put(s, 0, goal + 0.006 * along, yaw)).all()  # 1 - 0.16 * 0.006 / 0.0112 = 0.914
    assert not env.success(put(s, 0, goal + 0.008 * along, yaw)).any()  # 0.886
    assert not env.success(moving(put(s, 0, goal, yaw))).any()


def test_push_t_starts_at_its_distance():
    env, s = ready("push_t", 256, options={"turn": 1.0})
    gap = (s.object_pos[:, 0, :2] - s.goal[:, :2]).norm(dim=-1)
    turn = rotations.wrap(rotations.yaw_of(s.object_rot[:, 0]) - s.goal[:, 2])
    assert gap.min() >= 0.05 - 1e-6 and gap.max() <= 0.12 + 1e-6 and 0.9 < turn.abs().max() <= 1.0 + 1e-6
    assert (env.overlap(s) < 0.9).all()
