"""The network against an independent forward pass, ``reference.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from embodied.types import ObsGroup
from policies.pi0.network import time_waves

from ..vla.models import TEXTS, observations, seeing
from . import published as tiny
from . import reference
from .models import made


def words_of(policy: Any, text: str) -> list[int]:
    """The prompt, by hand: a character a word; the test's tokenizer begins every text with ``▁``."""
    vocabulary = policy.encoder.prompts.tokenizer.get_vocab()
    pieces = ["<bos>", *("▁" + text.replace(" ", "▁") if text else ""), "▁", "\n"]
    return [vocabulary[piece] for piece in pieces]


def padded(x: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, size - x.shape[-1]))


@pytest.mark.parametrize("views", [1, 2])
def test_velocities_are_those_of_an_independent_forward_pass(views: int, weights: Path) -> None:
    """What was read once, with padding, in a batch, says here what all tokens at once say there."""
    torch.manual_seed(0)
    spec, obs = seeing(tiny.SIDE), observations(4, tiny.SIDE)
    if views > 1:
        spec = seeing(tiny.SIDE, image=ObsGroup(shape=(views, tiny.SIDE, tiny.SIDE, 3), dtype="uint8", normalize=False))
        obs["image"] = torch.randint(0, 256, (4, views, tiny.SIDE, tiny.SIDE, 3), dtype=torch.uint8)
    policy = made(weights, spec=spec)
    x, noise = torch.randn(4, 2, 3), torch.randn(4, 2, tiny.ACTION - 3)
    t = torch.tensor([0.0, 0.3, 0.65, 0.999])
    with torch.no_grad():
        cond = policy.encoder.read(obs, torch.float32, noise)
        found = policy.network(x, policy.network.embed_times(t), cond)
    images = obs["image"].view(4, views, tiny.SIDE, tiny.SIDE, 3).movedim(-1, 2) / 255
    for row in range(4):
        time = 1 - t[row].item()
        action = torch.cat([x[row], time * noise[row]], -1)
        state = padded(obs["policy"][row], tiny.STATE)
        words = words_of(policy, TEXTS[row])
        wanted = reference.velocity(tiny.tensors(), list(images[row]), words, state, action, time)
        torch.testing.assert_close(found[row], -wanted[:, :3], atol=2e-4, rtol=1e-3)
    assert found.abs().max() > 0.5


def test_one_time_for_all_rows_is_that_of_each(weights: Path) -> None:
    policy, obs, x = made(weights), observations(3, tiny.SIDE), torch.randn(3, 2, 3)
    cond = policy.condition(obs)
    shared = policy.network(x, policy.network.embed_times(torch.tensor([0.4])), cond)
    torch.testing.assert_close(shared, policy.network(x, policy.network.embed_times(torch.full((3,), 0.4)), cond))


def test_the_time_is_told_by_waves_of_the_published_periods() -> None:
    found = time_waves(torch.tensor([0.25]), 6).squeeze(0)
    phases = [2 * torch.pi * 0.25 / period for period in (0.004, (0.004 * 4) ** 0.5, 4.0)]
    wanted = torch.tensor(phases, dtype=torch.float64)
    torch.testing.assert_close(found, torch.cat([wanted.sin(), wanted.cos()]), atol=1e-9, rtol=0)


def test_instructions_are_one_line(weights: Path) -> None:
    policy = made(weights)
    assert policy.encoder.prompts.encode(" put_it\nthere ") == words_of(policy, "put it there")


def test_a_task_must_fit(weights: Path) -> None:
    for group in ("image", "instruction", "policy"):
        spec = seeing(tiny.SIDE)
        spec.obs.pop(group)
        with pytest.raises(ValueError, match=f"no observation group '{group}'"):
            made(weights, spec=spec)
    with pytest.raises(ValueError, match=r"has 12 measurements and 3 actions; this checkpoint takes 9 and 6"):
        made(weights, spec=seeing(tiny.SIDE, policy=ObsGroup(shape=(12,))))
