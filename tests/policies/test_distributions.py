"""Densities against torch.distributions and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from policies.distributions import StateIndependentStd, gaussian_entropy, gaussian_log_prob


def test_log_prob_and_entropy_equal_torch_and_scipy() -> None:
    action, mean = torch.randn(2, 7, 2, 3, dtype=torch.float64).unbind(0)
    std = 0.1 + torch.rand(2, 3, dtype=torch.float64)
    normal = torch.distributions.Independent(torch.distributions.Normal(mean, std), 2)
    torch.testing.assert_close(gaussian_log_prob(action, mean, std), normal.log_prob(action))
    torch.testing.assert_close(gaussian_entropy(std).expand(7), normal.entropy())
    covariance = np.diag(std.numpy().ravel() ** 2)
    for i in range(7):
        density = stats.multivariate_normal(mean[i].numpy().ravel(), covariance)
        assert gaussian_log_prob(action, mean, std)[i].item() == pytest.approx(
            density.logpdf(action[i].numpy().ravel())
        )
        assert gaussian_entropy(std).item() == pytest.approx(density.entropy())


def test_std_starts_where_asked_and_never_falls_below_its_minimum() -> None:
    std = StateIndependentStd((2, 3), init_std=0.5, min_std=0.1)
    torch.testing.assert_close(std(), torch.full((2, 3), 0.5))
    with torch.no_grad():
        std.log_excess.fill_(-50.0)
    assert (std() >= 0.1).all()
    with torch.no_grad():
        std.log_excess.fill_(-5.0)
    std().sum().backward()
    assert (std.log_excess.grad > 0).all()  # near the minimum it can still grow


@pytest.mark.parametrize(("init", "low"), [(0.1, 0.1), (1.0, -0.1)])
def test_impossible_deviations_are_refused(init: float, low: float) -> None:
    with pytest.raises(ValueError, match="need 0 <= min_std < init_std"):
        StateIndependentStd((1, 1), init, low)
