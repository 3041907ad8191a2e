"""The network against an independent forward pass, ``reference.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from embodied.text import encode_text
from policies.openvla.towers import VisionTower

from ..vla.models import TEXTS, observations, seeing
from . import published as tiny
from . import reference
from .models import plain

START, STOP = 1, 2


@pytest.fixture(scope="module")
def weights_and_policies(weights: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        tiny.known_towers(patch)
        return {name: plain(weights, decoding=name) for name in ("autoregressive", "parallel")}


def words_of(policy: Any, text: str) -> list[int]:
    """The prompt, by hand: a character a word."""
    prompt = f"▁In: What action should the robot take to {text}?\nOut:".replace(" ", "▁")
    vocabulary = policy.prompts.tokenizer.get_vocab()
    return [START, *(vocabulary[c] for c in prompt), vocabulary["▁"]]


def expected(decoding: str, words: list[int], pixels: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (6, 256) from the lowest action up, and hidden states (6, E), of one row."""
    w = tiny.tensors()
    if decoding == "autoregressive":
        spoken = (tiny.VOCABULARY - 1 - token[:-1]).tolist()
        hidden = reference.llama(w, reference.sequence(w, pixels, words + spoken), causal=True)[-6:]
    else:
        seen = reference.sequence(w, pixels, words)
        stop = w["language_model.model.embed_tokens.weight"][STOP]
        tail = torch.cat([torch.zeros(6, tiny.WIDTH), stop.unsqueeze(0)])
        hidden = reference.llama(w, torch.cat([seen, tail]), causal=False)[len(seen) - 1 : len(seen) + 5]
    top = tiny.VOCABULARY - tiny.BINS
    return reference.logits(w, hidden)[:, top : tiny.VOCABULARY].flip(-1), hidden


@pytest.mark.parametrize("decoding", ["autoregressive", "parallel"])
def test_logits_are_those_of_an_independent_forward_pass(decoding: str, weights_and_policies: dict[str, Any]) -> None:
    """Rows of different lengths at once here, one row without padding there."""
    torch.manual_seed(0)
    policy, obs = weights_and_policies[decoding], observations(4, tiny.SIDE)
    token = torch.randint(0, 256, (4, 2, 3))
    with torch.no_grad():
        found, first = policy._judge(obs, token)
    for row in range(4):
        pixels = obs["image"][row].movedim(-1, 0) / 255
        wanted, hidden = expected(decoding, words_of(policy, TEXTS[row]), pixels, token[row].flatten())
        torch.testing.assert_close(found[row].flatten(0, 1), wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(first[row], hidden[0], atol=1e-4, rtol=1e-4)
    assert found.abs().max() > 1  # there is something to compare


@pytest.mark.parametrize("name", list(tiny.NAMES))
def test_each_tower_is_timm_s_up_to_the_last_block_but_one(
    name: str, weights_and_policies: dict[str, Any], weights: Path
) -> None:
    network = weights_and_policies["parallel"].network
    tower: VisionTower = network.dino if name == "tiny_dinov2" else network.siglip
    prefix = "vision_backbone." + ("featurizer." if name == "tiny_dinov2" else "fused_featurizer.")
    pixels = torch.rand(2, 3, tiny.SIDE, tiny.SIDE)
    with torch.no_grad():
        found = tower(pixels)
    for row in range(2):
        wanted = reference.tower(tiny.tensors(), prefix, tiny.NAMES[name], pixels[row])
        torch.testing.assert_close(found[row], wanted, atol=1e-5, rtol=1e-4)


def test_the_prompt_is_lower_case(weights_and_policies: dict[str, Any]) -> None:
    policy, obs = weights_and_policies["parallel"], observations(1, tiny.SIDE)
    said = [obs | {"instruction": encode_text([text], 60)} for text in ("Put It", "put it", "put at")]
    values = [policy.value(each).item() for each in said]
    assert values[0] == values[1] != values[2]


def test_larger_images_are_stretched(weights_and_policies: dict[str, Any]) -> None:
    policy, obs = weights_and_policies["parallel"], observations(2, tiny.SIDE)
    large = obs["image"].repeat_interleave(2, 1).repeat_interleave(3, 2)
    value = policy.value(obs | {"image": large})
    assert value.shape == (2,) and not torch.equal(value, policy.value(obs))


def test_a_task_must_show_and_tell(weights: Path) -> None:
    spec = seeing(tiny.SIDE)
    for group in ("image", "instruction"):
        bare = {name: x for name, x in spec.obs.items() if name != group}
        with pytest.raises(ValueError, match=f"no observation group '{group}'; it has "):
            plain(weights, spec.__class__("bare", 0.1, 1, bare, spec.action))
