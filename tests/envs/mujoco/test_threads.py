"""One thread for few worlds."""

import pytest
import torch

from envs.mujoco.threads import FEW, for_worlds


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("worlds", "threads"), [(1, 1), (FEW - 1, 1), (FEW, 2)])
def test_few_worlds_take_one_thread(worlds, threads):
    with for_worlds(worlds):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_the_threads_come_back_after_an_error():
    with pytest.raises(KeyError), for_worlds(1):
        raise KeyError
    assert torch.get_num_threads() == 2
