"""Differential inverse kinematics: least squares, limits, posture."""

import mujoco
import pytest
import torch

from envs.mdp import ik
from envs.mdp.kinematics import SerialArm
from envs.robots.panda import PANDA

SPEC = PANDA.spec
LOW, HIGH = (torch.tensor(limits, dtype=torch.float64) for limits in (SPEC.joint_low, SPEC.joint_high))
HOME = torch.tensor(SPEC.default_joint_pos, dtype=torch.float64)
LIMITS = {"low": LOW, "high": HIGH, "max_step": torch.full((7,), 0.1, dtype=torch.float64), "rest": HOME}


@pytest.fixture(scope="module")
def arm() -> SerialArm:
    model = mujoco.MjModel.from_xml_path(str(PANDA.xml))
    return SerialArm(model, SPEC.joint_names, PANDA.hand_site, torch.device("cpu"))


def solve(arm: SerialArm, q: torch.Tensor, position: torch.Tensor, rotation: torch.Tensor, steps: int, **options):
    for _ in range(steps):
        at, facing, jacobian = arm.jacobian(q)
        q = ik.step(q, jacobian, ik.pose_error(at, facing, position, rotation), **{**LIMITS, **options})
    return q


def test_without_damping_it_is_the_pseudo_inverse():
    jacobian = torch.randn(4, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(ik.damped_pinv(jacobian, 0.0), torch.linalg.pinv(jacobian))


def test_damping_is_tikhonovs():
    """Minimises |J x - e|^2 + d^2 |x|^2: the stacked least-squares problem."""
    jacobian, error, damping = torch.randn(6, 7, dtype=torch.float64), torch.randn(6, dtype=torch.float64), 0.3
    stacked = torch.cat([jacobian, damping * torch.eye(7, dtype=torch.float64)])
    expected = torch.linalg.lstsq(stacked, torch.cat([error, torch.zeros(7, dtype=torch.float64)])).solution
    torch.testing.assert_close(ik.damped_pinv(jacobian[None], damping)[0] @ error, expected)


def test_reaches_poses_all_over_the_table(arm):
    grid = [[x, y, z] for x in (0.35, 0.5, 0.65) for y in (-0.3, 0.0, 0.3) for z in (0.02, 0.3)]
    position = torch.tensor(grid, dtype=torch.float64)
    down = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)).expand(len(grid), 3, 3)
    q = solve(arm, HOME.expand(len(grid), 7), position, down, 60)
    at, facing = arm(q)
    assert (at - position).norm(dim=-1).max() < 1e-3
    assert ik.pose_error(at, facing, position, down)[:, 3:].norm(dim=-1).max() < 2e-3
    assert ((q >= LOW) & (q <= HIGH)).all()


def test_a_singular_arm_moves_little_and_stays_finite(arm):
    """Stretched straight up, the hand cannot go further up: joint steps stay within their limits."""
    q = torch.zeros(1, 7, dtype=torch.float64)
    q[0, 3], q[0, 5] = -0.0698, 1.8675
    _, _, jacobian = arm.jacobian(q)
    error = torch.tensor([[0.0, 0.0, 0.05, 0.0, 0.0, 0.0]], dtype=torch.float64)
    step = ik.step(q, jacobian, error, **LIMITS) - q
    assert torch.isfinite(step).all() and step.abs().max() <= 0.1 + 1e-12


def test_a_long_step_is_shortened_and_keeps_its_direction(arm):
    q = HOME[None]
    _, _, jacobian = arm.jacobian(q)
    error = torch.tensor([[0.05, -0.02, 0.03, 0.0, 0.1, 0.0]], dtype=torch.float64)
    free = {"max_step": torch.full((7,), 10.0, dtype=torch.float64)}
    long = ik.step(q, jacobian, error, **{**LIMITS, **free}) - q
    short = ik.step(q, jacobian, error, **{**LIMITS, "max_step": torch.full((7,), 0.01, dtype=torch.float64)}) - q
    assert short.abs().max() == pytest.approx(0.01)
    torch.testing.assert_close(short / short.norm(), long / long.norm())


def test_the_others_do_the_work_of_a_joint_at_its_limit(arm):
    """The elbow is out of the vertical plane, so that six joints still span every motion of the hand."""
    q = HOME[None] + torch.tensor([[0.3, -0.2, -0.6, 0.1, 0.5, 0.1, -0.3]], dtype=torch.float64)
    _, _, jacobian = arm.jacobian(q)
    error = torch.tensor([[0.005, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    options = {**LIMITS, "rest_gain": 0.0, "damping": 1e-4}
    free = ik.step(q, jacobian, error, **options) - q
    joint = int(free.abs().argmax())
    beyond = torch.arange(7) == joint
    low, high = torch.where(beyond & (free[0] < 0), q[0], LOW), torch.where(beyond & (free[0] > 0), q[0], HIGH)
    step = ik.step(q, jacobian, error, **{**options, "low": low, "high": high}) - q
    assert step[0, joint] == 0.0 and free[0, joint].abs() > 1e-3
    torch.testing.assert_close((jacobian @ step[..., None])[..., 0], error, atol=1e-6, rtol=0)


def test_the_posture_moves_the_elbow_and_not_the_hand(arm):
    q = HOME[None] + torch.tensor([[0.3, -0.2, -0.4, 0.1, 0.2, 0.1, -0.3]], dtype=torch.float64)
    position, rotation = arm(q)
    rested = solve(arm, q, position, rotation, 200, damping=1e-3)
    at, facing = arm(rested)
    assert ik.pose_error(at, facing, position, rotation).abs().max() < 1e-4
    assert (rested - HOME).norm() < 0.9 * (q - HOME).norm()
