from __future__ import annotations

import numpy as np
import pytest
import torch

from embodied.datasets.scaling import scale_of


def test_quantiles_go_to_plus_and_minus_one() -> None:
    x = torch.randn(501, 3) * torch.tensor([1.0, 10.0, 0.1]) + 5
    centre, width = scale_of(x, "quantiles")
    low, high = np.quantile(x.double().numpy(), [0.01, 0.99], axis=0)
    np.testing.assert_allclose(centre - width, low, rtol=1e-12)
    np.testing.assert_allclose(centre + width, high, rtol=1e-12)


def test_minmax_and_moments() -> None:
    x = torch.tensor([[0.0], [1.0], [8.0]])
    assert [v.item() for v in scale_of(x, "minmax")] == [4.0, 4.0]
    centre, width = scale_of(x, "mean_std")
    assert centre.item() == 3.0 and width.item() == pytest.approx(np.std([0, 1, 8]))
    assert [v.item() for v in scale_of(x, "none")] == [0.0, 1.0]


def test_what_never_varied_is_centred_only() -> None:
    centre, width = scale_of(torch.full((9, 1), 7.0), "quantiles")
    assert (centre.item(), width.item()) == (7.0, 1.0)


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match=r"normalization='min'.*valid: mean_std, minmax, none, quantiles"):
        scale_of(torch.zeros(2, 1), "min")
