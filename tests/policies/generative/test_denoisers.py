"""The three denoisers keep the chunk's shape, see all they are told, and differentiate."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from policies.generative.base import NETWORKS
from policies.generative.denoisers import MLPDenoiserConfig, Shape, TimeWaves
from policies.generative.dit import AttentionBlock, TransformerConfig
from policies.generative.unet import UNetConfig

CONFIGS: dict[str, Any] = {
    "mlp": MLPDenoiserConfig(hidden=(16, 16), time_size=4),
    "unet": UNetConfig(channels=(8, 8, 16), groups=4, time_size=4),
    "transformer": TransformerConfig(width=8, depth=2, heads=2, time_size=4),
}


def make(name: str, chunk: tuple[int, int] = (4, 3), times: int = 1, out_gain: float = 1.0) -> Any:
    network: Any = NETWORKS[name](Shape(chunk, 5, times, out_gain), CONFIGS[name])
    with torch.no_grad():
        for parameter in network.parameters():
            if out_gain == 1.0:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.double()


def inputs(rows: int, chunk: tuple[int, int] = (4, 3)) -> tuple[Tensor, Tensor, Tensor]:
    kind = torch.float64
    return torch.randn(rows, *chunk, dtype=kind), torch.rand(rows, dtype=kind), torch.randn(rows, 5, dtype=kind)


def call(network: Any, x: Tensor, t: Tensor, cond: Tensor, r: Tensor | None = None) -> Tensor:
    """Embed and call in one."""
    return network(x, network.embed_times(t, r), cond)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("chunk", [(1, 2), (3, 1), (5, 3), (8, 2)])
def test_any_chunk_keeps_its_shape(name: str, chunk: tuple[int, int]) -> None:
    assert call(make(name, chunk), *inputs(6, chunk)).shape == (6, *chunk)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_time_that_all_rows_share_may_be_given_once(name: str) -> None:
    network, (x, _, cond) = make(name), inputs(6)
    once = call(network, x, torch.full((1,), 0.3).double(), cond)
    torch.testing.assert_close(once, call(network, x, torch.full((6,), 0.3).double(), cond))


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_take_the_times_in_turn(name: str) -> None:
    """Six rows at two times: rows 0, 2 and 4 are at the first."""
    network, (x, t, cond) = make(name, times=2), inputs(6)
    together = call(network, x, t[:2], cond, t[2:4])
    alone = [call(network, x[i : i + 1], t[i % 2].view(1), cond[i : i + 1], t[2 + i % 2].view(1)) for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_times_embedded_together_are_those_embedded_one_by_one(name: str) -> None:
    network, (_, t, _) = make(name), inputs(6)
    together = network.embed_times(t)
    torch.testing.assert_close(together, torch.cat([network.embed_times(x) for x in t.split(1)]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_row_sees_its_own_chunk_time_and_condition(name: str) -> None:
    network, (x, t, cond) = make(name, times=2), inputs(2)
    r = torch.rand(2, dtype=torch.float64)
    before = call(network, x, t, cond, r)
    for changed in ((x + 1, t, cond, r), (x, t / 2, cond, r), (x, t, cond + 1, r), (x, t, cond, r / 2)):
        mixed = [torch.cat([old[:1], new[1:]]) for old, new in zip((x, t, cond, r), changed, strict=True)]
        after = call(network, *mixed)
        torch.testing.assert_close(after[0], before[0])
        assert (after[1] - before[1]).abs().min() > 1e-9


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_of_both_modes_agree_with_finite_differences(name: str) -> None:
    network, (x, t, cond) = make(name, (2, 2)), inputs(2, (2, 2))
    arguments = tuple(value.requires_grad_() for value in (x, t, cond))
    assert torch.autograd.gradcheck(partial(call, network), arguments, check_forward_ad=True, fast_mode=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_small_output_gain_starts_near_zero(name: str) -> None:
    assert call(make(name, out_gain=0.01), *inputs(50)).abs().max() < 0.1
    assert call(make(name), *inputs(50)).abs().max() > 0.1


@pytest.mark.parametrize("name", CONFIGS)
def test_the_number_of_times_must_be_the_processes(name: str) -> None:
    t = torch.rand(2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"made for 1 time\(s\) and was given 2"):
        make(name).embed_times(t, t)
    with pytest.raises(ValueError, match=r"made for 2 time\(s\) and was given 1"):
        make(name, times=2).embed_times(t)


def test_neighbouring_times_are_told_apart_and_no_two_are_alike() -> None:
    t = torch.linspace(0, 1, 101)
    embedding = TimeWaves(16)
    waves = embedding(t)
    apart = torch.cdist(waves, waves) + 10 * torch.eye(101)
    assert apart.min() > 0.05


def test_attention_equals_torchs() -> None:
    block = AttentionBlock(8, 2).double()
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.project.weight)
        theirs.in_proj_bias.copy_(block.project.bias)
        theirs.out_proj.weight.copy_(block.out.weight)
        theirs.out_proj.bias.copy_(block.out.bias)
    tokens = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(block.mix(tokens), theirs(tokens, tokens, tokens)[0])


def test_a_fresh_block_of_the_transformer_updates_nothing() -> None:
    block = AttentionBlock(8, 2)
    assert not block(torch.randn(3, 5, 8), torch.randn(3, 8)).any()


@pytest.mark.parametrize(
    ("make_config", "message"),
    [
        (lambda: MLPDenoiserConfig(activation="silo"), "policy.mlp.activation='silo': did you mean 'silu'"),
        (lambda: MLPDenoiserConfig(hidden=()), "policy.mlp.hidden is empty"),
        (lambda: UNetConfig(channels=(8, 10)), r"policy.unet.channels=\[8, 10\]: must be multiples of groups=8"),
        (lambda: UNetConfig(kernel_size=4), "policy.unet.kernel_size=4: must be odd"),
        (lambda: TransformerConfig(width=10), "policy.transformer.width=10: must be a multiple of heads=4"),
        (lambda: TransformerConfig(depth=0), "policy.transformer.depth=0: must be a number above 0"),
        (lambda: TimeWaves(3), r"time_size=3: must be an even number"),
    ],
)
def test_mistakes_name_what_would_be_right(make_config, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_config()
