"""The context knows nothing of the queries, and what is computed in parts is what is computed at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from embodied.configuration import from_mapping
from policies.vla.tokenizer import WORDS
from policies.vla.trunk import Block, Trunk, TrunkConfig

from .models import TEXTS, TINY, disturb, observations, seeing


def trunk(**more: Any) -> Trunk:
    return disturb(Trunk(seeing(), TrunkConfig(**(TINY | more)))).double()


def written_out(block: Block, x: Tensor, mask: Tensor) -> Tensor:
    """A block on a whole sequence (B, S, E) with mask (B, S, S), by the definition of attention."""
    normed = block.norm(x)
    key, value = block.key_value(normed).chunk(2, -1)
    size = x.shape[-1] // block.heads
    parts = []
    for head in range(block.heads):
        part = slice(head * size, (head + 1) * size)
        scores = block.query(normed)[..., part] @ key[..., part].transpose(1, 2) / size**0.5
        parts.append(scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value[..., part])
    x = x + block.out(torch.cat(parts, -1))
    return x + block.layers(block.norm_out(x))


@pytest.mark.parametrize("causal", [False, True])
def test_context_and_queries_are_one_transformer_under_a_mask(causal: bool) -> None:
    net, obs, queries = trunk(), observations(4), torch.randn(4, 3, 16).double()
    found, _ = net.decode(queries, net.encode(obs), causal)
    tokens, visible = net.tokens(obs)
    assert visible is not None
    size = tokens.shape[1]
    mask = torch.zeros(4, size + 3, size + 3, dtype=torch.bool)
    mask[:, :, :size] = visible[:, 0]
    mask[:, size:, size:] = torch.ones(3, 3).tril() > 0 if causal else True
    x = torch.cat([tokens, queries], 1)
    for block in net.blocks:
        x = written_out(block, x, mask)  # type: ignore[arg-type]
    torch.testing.assert_close(found, net.norm(x[:, size:]))


def test_queries_one_after_the_other_find_what_they_find_at_once() -> None:
    net, obs, queries = trunk(), observations(4), torch.randn(4, 3, 16).double()
    context = net.encode(obs)
    whole, _ = net.decode(queries, context, causal=True)
    for i in range(3):
        found, context = net.decode(queries[:, i : i + 1], context)
        torch.testing.assert_close(found, whole[:, i : i + 1])


def test_padding_words_change_nothing() -> None:
    net, obs = trunk(), observations(4)
    assert net.language is not None
    numbers = net.language.tokenizer.padded(TEXTS, 12)
    told = {name: x for name, x in obs.items() if name != "instruction"} | {WORDS: numbers}
    queries = torch.randn(4, 1, 16).double()
    torch.testing.assert_close(net.decode(queries, net.encode(told))[0], net.decode(queries, net.encode(obs))[0])


def test_the_order_of_words_matters_to_the_image_too() -> None:
    net = trunk()
    assert net.language is not None and net.vision is not None
    numbers = net.language.tokenizer.padded(["red cube blue plate", "blue cube red plate"])
    summary = net.language.read(numbers).summary
    image = observations(1)["image"].expand(2, -1, -1, -1)
    tokens = net.vision(image, summary)
    assert not torch.allclose(tokens[0], tokens[1])


@pytest.mark.parametrize("missing", ["image", "instruction"])
def test_what_a_task_has_not_got_is_left_out(missing: str) -> None:
    spec = seeing()
    spec = dataclasses.replace(spec, obs={name: group for name, group in spec.obs.items() if name != missing})
    net, obs = Trunk(spec, TrunkConfig(**TINY)), observations(4)
    del obs[missing]
    tokens, visible = net.tokens(obs)
    assert tokens.shape[1] == {"image": 1 + 8, "instruction": 1 + 17}[missing]
    assert (visible is None) == (missing == "instruction")
    assert net.decode(torch.randn(4, 2, 16), net.encode(obs), causal=True)[0].shape == (4, 2, 16)


def test_a_history_of_measurements_is_one_token() -> None:
    spec = seeing(policy=dataclasses.replace(seeing().obs["policy"], shape=(3, 5)))
    net = Trunk(spec, TrunkConfig(**TINY))
    obs = observations(2) | {"policy": torch.randn(2, 3, 5)}
    torch.testing.assert_close(
        net.tokens(obs)[0][:, 0], functional.linear(obs["policy"].flatten(1), *net.measured.parameters())
    )


def test_mistakes_name_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"policy.trunk.width=10: must be a multiple of heads=4"):
        TrunkConfig(width=10)
    with pytest.raises(ValueError, match=r"policy.trunk.blocks=0: must be a whole number"):
        TrunkConfig(blocks=0)
    with pytest.raises(ValueError, match=r"unknown key policy.trunk.bloks; did you mean 'blocks'"):
        from_mapping(TrunkConfig, {"bloks": 1}, "policy.trunk")
