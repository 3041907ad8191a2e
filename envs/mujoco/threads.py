"""How many of torch's threads an environment's arithmetic takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FEW = 16384
"""Worlds below which one thread is faster. torch divides whatever has 32768 elements or more, as the joints of 2731
robots have, and waking its threads takes longer than the work (measured on two cores: the reward of 4096 robots takes
0.97 ms on two threads and 0.72 ms on one; of 16384, about the same on both)."""


@contextmanager
def for_worlds(count: int) -> Iterator[None]:
    """Within this context torch computes on one thread, if the worlds are few."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if count < FEW else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
