"""Advantages against numbers worked by hand and against independent sums."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from embodied.returns import discounted_returns, first_episode, gae, group_relative, next_values


def column(*values: float) -> Tensor:
    return torch.tensor([float(value) for value in values]).unsqueeze(-1)


def test_gae_with_a_truncation_a_termination_and_an_open_end() -> None:
    # gamma = lambda = 1/2, so advantages decay by 1/4. Backwards:
    # t=3, open:       4 + 0.5 * 2 - 1 = 4
    # t=2, terminated: 3 + 0       - 1 = 2
    # t=1, truncated:  2 + 0.5 * 10 - 1 = 6
    # t=0:             1 + 0.5 * 1 - 1 = 0.5, plus 6 / 4
    reward, value = column(1, 2, 3, 4), column(1, 1, 1, 1)
    following = next_values(value, column(0, 10, 0, 0), torch.tensor([2.0]), column(0, 1, 0, 0).bool())
    assert following.flatten().tolist() == [1, 10, 1, 2]
    ends = column(0, 0, 1, 0).bool(), column(0, 1, 0, 0).bool()
    advantage, target = gae(reward, value, following, *ends, gamma=0.5, lam=0.5)
    assert advantage.flatten().tolist() == [2.0, 6.0, 2.0, 4.0]
    assert target.flatten().tolist() == [3.0, 7.0, 3.0, 5.0]


def test_gae_ignores_the_value_after_a_termination_even_if_it_is_not_finite() -> None:
    reward, value = column(1.0), column(0.0)
    ends = torch.tensor([[True]]), torch.tensor([[False]])
    advantage, _ = gae(reward, value, column(float("nan")), *ends, gamma=0.9, lam=0.9)
    assert advantage.item() == 1.0


def test_gae_with_lambda_one_is_the_discounted_sum_minus_the_value() -> None:
    reward, value = torch.rand(6, 3), torch.rand(6, 3)
    last = torch.rand(3)
    never = torch.zeros(6, 3, dtype=torch.bool)
    following = next_values(value, torch.zeros(6, 3), last, never)
    advantage, target = gae(reward, value, following, never, never, gamma=0.9, lam=1.0)
    expected = sum(0.9**k * reward[k] for k in range(6)) + 0.9**6 * last
    torch.testing.assert_close(target[0], expected)
    torch.testing.assert_close(advantage[0], expected - value[0])


def test_first_episode_reaches_to_its_end_and_no_further() -> None:
    done = torch.tensor([[False, True], [True, False], [False, True]])
    assert first_episode(done).tolist() == [[True, True], [True, False], [False, False]]


def test_group_relative_standardises_within_groups() -> None:
    # Scores of the first episodes: group one 1 and 3, group two 5 and 5.
    reward = torch.tensor([[1.0, 1.0, 5.0, 2.0], [9.0, 2.0, 0.0, 3.0]])
    done = torch.tensor([[True, False, False, False], [False, True, True, True]])
    advantage, mask = group_relative(reward, done, group_size=2, eps=0.0 + 1e-12)
    assert mask.tolist() == [[True, True, False, False], [False, True, False, False]]  # equal scores teach nothing
    torch.testing.assert_close(advantage, torch.tensor([[-1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))


def test_scores_that_differ_by_rounding_alone_are_equal() -> None:
    reward = torch.tensor([[0.1, 1.0, 0.3], [0.2, 0.2, 0.0], [1.0, 0.1, 1.0]])  # the first two rows: 0.1 + 0.2 + 1.0
    done = torch.tensor([[False] * 3] * 2 + [[True] * 3])
    assert not group_relative(reward.double().float(), done, group_size=3)[1].any()
    reward[0, 2] += 0.01
    assert group_relative(reward, done, group_size=3)[1].all()


@pytest.mark.parametrize("group_size", [1, 3])
def test_group_relative_refuses_groups_that_do_not_fit(group_size: int) -> None:
    with pytest.raises(ValueError, match="group_size must be at least 2 and divide the 4 rows"):
        group_relative(torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.bool), group_size)


def test_discounted_returns_carry_on_and_clear_at_ends() -> None:
    reward = column(1, 1, 1)
    done = column(0, 1, 0).bool()
    sums, carried = discounted_returns(reward, done, torch.tensor([4.0]), gamma=0.5)
    assert sums.flatten().tolist() == [3.0, 2.5, 1.0]
    assert carried.tolist() == [1.0]
