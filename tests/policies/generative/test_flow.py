"""Flows whose solution is known: a constant velocity, a linear one, and the exact flow between Gaussians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from policies.generative.flow import FlowConfig, RectifiedFlow, between
from policies.generative.mean_flow import MeanFlow, MeanFlowConfig
from policies.generative.shortcut import Shortcut, ShortcutConfig

from .models import Told, sampled

COND = torch.zeros(4, 1, dtype=torch.float64)


def straight_to(action: Tensor):
    """The velocity of the straight way to one action, wherever on it one is."""
    return lambda x, t, cond: (action - x) / (1 - t.view(-1, 1, 1))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_straight_way_to_an_action_is_exact_in_any_number_of_steps(steps: int) -> None:
    action, noise = torch.randn(2, 4, 2, 3, dtype=torch.float64).unbind(0)
    chain = sampled(RectifiedFlow(FlowConfig(steps)), straight_to(action), noise.unsqueeze(1), COND)
    torch.testing.assert_close(chain[-1], action)
    torch.testing.assert_close(chain[1], between(action, noise, torch.full((4,), 1 / steps, dtype=torch.float64)))


def test_euler_steps_of_a_linear_velocity_by_hand() -> None:
    """dx/dt = -x: every step multiplies by 1 - 1/K, which tends to exp(-1)."""
    noise = torch.randn(4, 1, 2, 3, dtype=torch.float64)
    for steps in (4, 1000):
        out = sampled(RectifiedFlow(FlowConfig(steps)), lambda x, t, cond: -x, noise, COND)[-1]
        torch.testing.assert_close(out, noise[:, 0] * (1 - 1 / steps) ** steps)
    torch.testing.assert_close(out, noise[:, 0] * math.exp(-1), atol=0, rtol=1e-3)


def test_the_steps_are_told_the_time_they_start_at_and_clip_where_asked() -> None:
    seen: list[float] = []

    def network(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        seen.append(t.item())
        return torch.full_like(x, 100.0)

    chain = sampled(RectifiedFlow(FlowConfig(4, clip=1.5)), network, torch.zeros(4, 1, 2, 3), COND)
    assert seen == [0.0, 0.25, 0.5, 0.75]
    assert all(x.max() == 1.5 for x in chain[1:])


def test_the_matching_loss_by_hand() -> None:
    """Action 1, noise -1, t 1/4: x is -1/2, the velocity 2; a network that says x is off by 2.5."""
    ones = torch.ones(4, 2, 3)
    process = RectifiedFlow(FlowConfig())
    loss = process.matching_loss(Told(lambda x, t, cond: x), ones, COND, torch.full((4,), 0.25), -ones)
    torch.testing.assert_close(loss, torch.full((4,), 6.25))


class Linear(nn.Module):
    """u(x, t, r) = a x + b t + c r + d, for derivatives by hand; as a denoiser, ``Told(linear)``."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.7, -0.4, 0.9, 0.2], dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor, r: Tensor) -> Tensor:
        a, b, c, d = self.weights
        return a * x + b * t.view(-1, 1, 1) + c * r.view(-1, 1, 1) + d


def test_the_mean_flow_target_is_the_derivative_along_the_path() -> None:
    """du/dt = a v + b, so the target is v + (r - t)(a v + b), and it has no gradient."""
    network = Linear()
    action, noise = torch.randn(2, 4, 2, 3, dtype=torch.float64).unbind(0)
    t, r = torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), torch.tensor([0.1, 0.5, 0.9, 1.0]).double()
    loss = MeanFlow(MeanFlowConfig()).identity_loss(Told(network), action, noise, t, r, COND)
    velocity = action - noise
    a, b = network.weights.detach()[:2]
    goal = velocity + (r - t).view(-1, 1, 1) * (a * velocity + b)
    expected = (network(between(action, noise, t), t, COND, r) - goal).square().mean((1, 2))
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(x.sum(), network.weights)[0] for x in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_the_mean_velocity_of_a_known_flow_has_no_mean_flow_loss() -> None:
    """dx/dt = -x moves x to x exp(-(r - t)): the mean velocity is x (exp(-(r - t)) - 1) / (r - t).

    The identity with the velocity -x holds for it at any point, so the loss vanishes when action - noise = -x_t.
    """

    def network(x: Tensor, t: Tensor, cond: Tensor, r: Tensor) -> Tensor:
        ahead = (r - t).view(-1, 1, 1)
        return x * torch.expm1(-ahead) / ahead

    t, r = torch.tensor([0.2, 0.5, 0.1, 0.7]).double(), torch.tensor([0.9, 0.6, 1.0, 0.8]).double()
    noise = torch.randn(4, 2, 3, dtype=torch.float64)
    now = t.view(-1, 1, 1)
    action = noise * now / (1 + now)  # solves action - noise = -(t action + (1 - t) noise)
    assert MeanFlow(MeanFlowConfig()).identity_loss(Told(network), action, noise, t, r, COND).max() < 1e-20
    out = sampled(MeanFlow(MeanFlowConfig(steps=1)), network, noise.unsqueeze(1), COND)[-1]
    torch.testing.assert_close(out, noise * math.exp(-1))


def test_mean_flow_falls_back_to_flow_matching_where_the_times_agree() -> None:
    network = Told(Linear())
    action = torch.randn(4, 2, 3, dtype=torch.float64)
    together = MeanFlow(MeanFlowConfig(apart=0.0))
    loss = together.loss(network, action, COND, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(4, 2, 3, dtype=torch.float64, generator=generator)
    t = torch.rand(2, 4, dtype=torch.float64, generator=generator).min(0).values
    torch.testing.assert_close(loss, together.matching_loss(network, action, COND, t, noise))


def test_two_shortcuts_make_a_leap() -> None:
    """Velocity x: from x two steps of d lead to x (1 + d)^2, so the velocity of the leap is x (1 + d / 2)."""
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    t, size = torch.zeros(4).double(), torch.tensor([0.125, 0.25, 0.5, 0.5]).double()
    process = Shortcut(ShortcutConfig())
    d = size.view(-1, 1, 1)
    loss = process.leap_loss(Told(lambda x, t, cond, r: x), x, t, size, COND)
    torch.testing.assert_close(loss, (x * d / 2).square().mean((1, 2)))
    leaping = Told(lambda x, t, cond, r: x * (1 + d / 2 * (r == 2 * size).view(-1, 1, 1)))
    right = process.leap_loss(leaping, x, t, size, COND)
    assert right.max() < 1e-20


def test_shortcuts_are_told_their_size_and_learn_at_step_boundaries() -> None:
    process = Shortcut(ShortcutConfig(steps=2, finest=8, consistency=1.0))
    seen: list[tuple[Tensor, Tensor]] = []

    def network(x: Tensor, t: Tensor, cond: Tensor, r: Tensor) -> Tensor:
        seen.append((t, r))
        return torch.zeros_like(x)

    sampled(process, network, torch.zeros(4, 1, 2, 3), COND)
    assert [(t.item(), r.item()) for t, r in seen] == [(0.0, 0.5), (0.5, 0.5)]
    seen.clear()
    process.loss(Told(network), torch.zeros(500, 2, 3), COND, torch.Generator().manual_seed(0))
    starts, sizes = seen[1]  # after the matching loss: the first of the two small steps
    assert sorted(set(sizes.tolist())) == [0.125, 0.25, 0.5]
    assert ((starts / (2 * sizes)) % 1 == 0).all()
    assert (starts + 2 * sizes <= 1).all()
    later, double = seen[2][0], seen[3][1]
    assert torch.equal(later, starts + sizes) and torch.equal(double, 2 * sizes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlowConfig(steps=0), "policy.flow.steps=0: must be a number above 0"),
        (lambda: ShortcutConfig(finest=6), "policy.shortcut.finest=6: must be a power of 2"),
        (lambda: ShortcutConfig(steps=3), "policy.shortcut.steps=3: must divide finest=8"),
        (lambda: MeanFlowConfig(apart=2.0), r"policy.mean_flow.apart=2.0: must lie in \[0, 1\]"),
    ],
)
def test_mistakes_name_what_would_be_right(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
