"""Perceptrons have the layers, gains and activations they were asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from policies.networks import ACTIVATIONS, flat, mlp


def test_layers_and_orthogonal_gains() -> None:
    network = mlp(5, [8, 3], 2, out_gain=0.01)
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == [(5, 8), (8, 3), (3, 2)]
    assert isinstance(network[-1], nn.Linear)
    for layer, gain in zip(linears, (2**0.5, 2**0.5, 0.01), strict=True):
        torch.testing.assert_close(torch.linalg.svdvals(layer.weight), torch.full((min(layer.weight.shape),), gain))
        assert not layer.bias.any()


def test_default_init_is_torchs() -> None:
    torch.manual_seed(1)
    ours = mlp(4, [6], 2, init="default")
    torch.manual_seed(1)
    theirs = nn.Sequential(nn.Linear(4, 6), nn.ELU(), nn.Linear(6, 2))
    x = torch.randn(3, 4)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_has_the_right_gradient(activation: str) -> None:
    network = mlp(3, [4, 4], 1, activation=activation).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, x)


def test_bad_names_suggest_the_nearest() -> None:
    with pytest.raises(ValueError, match="activation='elo': did you mean 'elu'"):
        mlp(1, [1], 1, activation="elo")
    with pytest.raises(ValueError, match=r"init='ortho': .*valid: default, orthogonal"):
        mlp(1, [1], 1, init="ortho")


def test_flat_makes_float_vectors() -> None:
    assert flat(torch.zeros(2, 3, 4, dtype=torch.float64)).shape == (2, 12)
    assert flat(torch.zeros(5, 2, 3, 4), dims=2).shape == (5, 2, 12)
    x = torch.zeros(2, 3)
    assert flat(x) is x
    assert flat(x.double()).dtype == torch.float32
