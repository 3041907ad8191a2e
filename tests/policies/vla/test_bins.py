"""Action tokens against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from policies.vla.bins import Bins, cross_entropy, draw_token, factor_count, factors, token_entropy, token_log_prob


def test_the_values_are_evenly_spaced_and_hold_both_limits_and_the_middle() -> None:
    values = Bins(-1.0, 1.0, 5).action(torch.arange(5), torch.float32)
    assert values.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


@pytest.mark.parametrize("count", [2, 33, 256])
def test_every_value_is_its_own_token(count: int) -> None:
    bins, tokens = Bins(-0.7, 1.9, count), torch.arange(count)
    assert torch.equal(bins.token(bins.action(tokens, torch.float32)), tokens)


def test_actions_go_to_the_nearest_value_and_stop_at_the_limits() -> None:
    action = torch.tensor([-7.0, -0.76, -0.74, 0.24, 0.26, 9.0])
    assert Bins(-1.0, 1.0, 5).token(action).tolist() == [0, 0, 1, 2, 3, 4]


def test_factors_sum_up_elements() -> None:
    elements = torch.arange(12.0).view(2, 2, 3)
    assert factors(elements, "token").tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert factors(elements, "action").tolist() == [[3, 12], [21, 30]]
    assert factors(elements, "chunk").tolist() == [[15], [51]]
    assert [factor_count(level, (2, 3)) for level in ("token", "action", "chunk")] == [6, 2, 1]


def test_log_probabilities_and_entropies_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3.0)]).view(1, 1, 1, 2)
    zero = torch.zeros(1, 1, 1, dtype=torch.long)
    assert token_log_prob(logits, zero).item() == pytest.approx(math.log(1 / 4))
    assert token_entropy(logits).item() == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    # At temperature 2 the odds are 1 : sqrt(3).
    assert token_log_prob(logits, zero, 2.0).item() == pytest.approx(-math.log(1 + 3**0.5), abs=1e-6)


def test_tokens_are_drawn_as_often_as_the_temperature_says() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([0.0, math.log(3.0)]).expand(20_000, 1, 1, 2)
    assert draw_token(logits, 1.0).float().mean().item() == pytest.approx(0.75, abs=0.015)
    assert draw_token(logits, 2.0).float().mean().item() == pytest.approx(3**0.5 / (1 + 3**0.5), abs=0.015)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    logits, token = torch.randn(4, 2, 3, 5), torch.randint(5, (4, 2, 3))
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), token.flatten(), reduction="none", label_smoothing=smoothing
    )
    torch.testing.assert_close(cross_entropy(logits, token, smoothing), expected.view(4, 6).mean(1))
