from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from embodied.datasets import Windows, split
from embodied.datasets.windows import epochs

from .examples import episodes


def test_a_chunk_repeats_the_last_action_and_says_so() -> None:
    windows = Windows(episodes(3, 2), chunk=3)
    assert len(windows) == 5
    obs, action, mask = windows[1]
    assert obs["policy"].tolist() == [1.0, 1.25, 1.5]
    assert action[:, 1].tolist() == [-1.0, -2.0, -2.0]
    assert mask.tolist() == [True, True, False]
    obs, action, mask = windows[3]  # the first frame of the second episode
    assert obs["policy"][0] == 100.0
    assert action[:, 1].tolist() == [0.0, -1.0, -1.0]


def test_a_history_begins_with_the_first_observation() -> None:
    windows = Windows(episodes(3, 3), chunk=1, history={"policy": 3})
    seen = windows.batch(torch.arange(6)).obs
    assert seen["policy"].shape == (6, 3, 3) and seen["goal"].shape == (6, 1)
    assert seen["policy"][:, :, 0].tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 2],
        [100, 100, 100],  # never an observation of the episode before
        [100, 100, 101],
        [100, 101, 102],
    ]


def test_dropping_leaves_whole_chunks() -> None:
    windows = Windows(episodes(4, 2, 3), chunk=3, padding="drop")
    assert windows.frames.tolist() == [0, 1, 6]
    assert windows.batch(torch.arange(3)).mask.all()
    with pytest.raises(ValueError, match="no window is left, episodes have 2 steps"):
        Windows(episodes(2), chunk=3, padding="drop")


def test_the_first_decisions_of_episodes() -> None:
    assert Windows(episodes(3, 2, 4)).firsts().tolist() == [0, 3, 5]
    assert Windows(episodes(3, 2, 4), episodes=torch.tensor([0, 2])).firsts().tolist() == [0, 3]
    assert Windows(episodes(3, 2, 4), chunk=3, padding="drop").firsts().tolist() == [0, 1]


def test_only_some_episodes() -> None:
    windows = Windows(episodes(2, 2, 2), episodes=torch.tensor([0, 2]))
    assert windows.frames.tolist() == [0, 1, 4, 5]


def test_it_is_a_torch_dataset() -> None:
    windows = Windows(episodes(3, 2), chunk=2)
    obs, action, mask = next(iter(DataLoader(windows, batch_size=5)))
    whole = windows.batch(torch.arange(5))
    assert torch.equal(obs["policy"], whole.obs["policy"])
    assert torch.equal(action, whole.action) and torch.equal(mask, whole.mask)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="padding='zero'"):
        Windows(episodes(2), padding="zero")
    with pytest.raises(ValueError, match=r"history='image'.*valid: goal, policy"):
        Windows(episodes(2), history={"image": 2})
    with pytest.raises(ValueError, match="chunk=0"):
        Windows(episodes(2), chunk=0)


def test_the_split_is_by_episode_and_a_function_of_the_seed() -> None:
    train, held_out = split(20, 0.25, seed=3)
    assert len(held_out) == 5
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(20))
    assert torch.equal(split(20, 0.25, seed=3)[1], held_out)
    assert not torch.equal(split(20, 0.25, seed=4)[1], held_out)


@pytest.mark.parametrize(("count", "share", "expected"), [(1, 0.5, 0), (2, 0.01, 1), (10, 0.0, 0), (3, 0.9, 2)])
def test_both_parts_get_an_episode_where_there_are_two(count: int, share: float, expected: int) -> None:
    assert len(split(count, share)[1]) == expected


def test_an_epoch_shows_every_window_once() -> None:
    batches = list(itertools.islice(epochs(7, 3, torch.Generator().manual_seed(0)), 4))
    assert [len(batch) for batch in batches] == [3, 3, 3, 3]
    first, second = torch.cat(batches[:2]).tolist(), torch.cat(batches[2:]).tolist()
    assert len(set(first)) == len(set(second)) == 6 and first != second
    few = next(epochs(2, 128, torch.Generator().manual_seed(0)))
    assert sorted(few.tolist()) == [0, 1]
