from __future__ import annotations

import numpy as np
import pytest
import torch

from embodied.types import ActionSpec
from policies.openvla.actions import ActionTokens, data_tokens, task_tokens

from .published import STATISTICS

SPEC = ActionSpec(("x", "y", "gripper"), low=-1.0, high=1.0)


def published_value(word: int, words: int = 32000) -> float:
    """What the published decoding makes of a word: edges from -1 to 1, centres between them, ids from the top."""
    edges = np.linspace(-1, 1, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    return float(centres[np.clip(words - word - 1, 0, 254)])


def test_every_word_means_what_it_means_in_the_published_decoding() -> None:
    tokens = task_tokens(ActionSpec(("a",), low=-1.0, high=1.0), 256)
    found = tokens.action(torch.arange(256).view(-1, 1)).flatten()
    wanted = torch.tensor([published_value(32000 - 1 - n) for n in range(256)])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert found[254] == found[255]  # the words 31745 and 31744


def test_actions_become_the_tokens_of_the_published_tokenizer() -> None:
    x = torch.linspace(-1.2, 1.2, 1001)
    wanted = np.digitize(np.clip(x.numpy(), -1, 1), np.linspace(-1, 1, 256)) - 1
    tokens = task_tokens(ActionSpec(("a",), low=-1.0, high=1.0), 256)
    found = tokens.token(x.view(-1, 1)).flatten()
    assert (found - torch.tensor(wanted)).abs().max() <= 1  # on an edge, rounding decides
    assert (found == torch.tensor(wanted)).float().mean() > 0.98
    assert found[0] == 0 and found[-1] == 255


def test_a_task_s_own_limits_are_what_its_tokens_span() -> None:
    tokens = task_tokens(ActionSpec(("a", "b"), low=0.0, high=10.0), 256)
    assert tokens.action(torch.tensor([0, 254])).tolist() == pytest.approx([10 / 510, 10 - 10 / 510])
    free = task_tokens(ActionSpec(("a",)), 256)
    assert free.action(torch.tensor([127])).abs() < 1e-6


def test_statistics_give_units_and_spare_the_gripper() -> None:
    tokens = data_tokens(STATISTICS, "bridge_orig", SPEC, 256)
    last, edge = tokens.action(torch.full((3,), 254)), 1 - 1 / 255
    assert last.tolist() == pytest.approx([0.5 * edge, 2.0 * edge, edge], abs=1e-6)
    every = torch.arange(255).view(-1, 1).expand(-1, 3)
    assert torch.equal(tokens.token(tokens.action(every)), every)


def test_an_element_that_never_moved_has_one_value() -> None:
    tokens = ActionTokens(torch.tensor([0.3]), torch.tensor([0.3]), torch.tensor([True]), 256)
    assert torch.equal(tokens.action(torch.tensor([[0], [100]])), torch.full((2, 1), 0.3))
    assert tokens.token(torch.tensor([[0.3]])).item() == 0


def test_unknown_or_other_statistics_are_errors() -> None:
    with pytest.raises(ValueError, match=r"policy.unnorm_key='bridge': did you mean 'bridge_orig'"):
        data_tokens(STATISTICS, "bridge", SPEC, 256)
    with pytest.raises(ValueError, match=r"has 3 action elements, the task 1"):
        data_tokens(STATISTICS, "bridge_orig", ActionSpec(("a",)), 256)
