"""The squashed Gaussian against torch's own, and critics that count separately."""

from __future__ import annotations

import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from policies.steering.networks import Actor, Critics, smallest


def reference(actor: Actor, seen: torch.Tensor) -> TransformedDistribution:
    normal = Independent(Normal(*actor.gaussian(seen)), 1)
    return TransformedDistribution(normal, [TanhTransform(cache_size=1)])


def test_the_density_is_that_of_a_squashed_gaussian() -> None:
    actor, seen = Actor(6, 3, [8], "tanh"), torch.randn(5, 2, 3)
    u = actor.draw(seen)
    expected = reference(actor, seen).log_prob(u.tanh())
    torch.testing.assert_close(actor.log_prob(seen, u), expected, rtol=1e-4, atol=1e-4)


def test_drawn_actions_come_with_their_density() -> None:
    actor, seen = Actor(6, 3, [8], "tanh"), torch.randn(5, 6)
    action, log_prob = actor.action_log_prob(seen)
    torch.testing.assert_close(log_prob, reference(actor, seen).log_prob(action), rtol=1e-4, atol=1e-4)
    assert bool((action.abs() < 1).all()) and action.requires_grad and log_prob.requires_grad


def test_the_density_stays_finite_where_tanh_saturates() -> None:
    """There 1 - tanh(u)^2 is 0 in floating point, but its logarithm is about 2 log 2 - 2 |u|."""
    actor, seen = Actor(1, 1, [], "tanh"), torch.zeros(1, 1)
    mean, std = actor.gaussian(seen)
    u = torch.full((1, 1), 30.0)
    expected = Normal(mean, std).log_prob(u) - (2 * torch.log(torch.tensor(2.0)) - 60)
    torch.testing.assert_close(actor.log_prob(seen, u), expected.squeeze(-1))


def test_the_most_likely_draw_is_the_mean() -> None:
    actor, seen = Actor(2, 3, [8], "relu"), torch.randn(4, 2)
    assert torch.equal(actor.draw(seen, deterministic=True), actor.gaussian(seen)[0])
    assert not torch.equal(actor.draw(seen), actor.draw(seen))


def test_critics_differ_and_the_smallest_counts() -> None:
    critics, seen, action = Critics(5, [8], "relu", 3), torch.randn(4, 2), torch.randn(4, 3)
    values = critics(seen, action)
    assert len(values) == 3 and all(value.shape == (4, 1) for value in values)
    assert not torch.equal(values[0], values[1])
    torch.testing.assert_close(smallest(critics, seen, action), torch.stack(values).amin(0).squeeze(-1))
