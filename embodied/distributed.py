"""Several processes by ``torchrun``: gradients and statistics reduced over ranks; without it, everything is a no-op.

Each rank has its own worlds. Parameters start equal (:func:`broadcast_module`) and stay equal, because every rank
applies the same averaged gradient and takes every decision (learning rate, early stop) from reduced statistics.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def init(device: str | torch.device = "cpu") -> torch.device:
    """Join the process group that torchrun's environment variables describe, if there is one.

    Returns:
        The device of this rank: ``cuda:<local rank>`` for "cuda" under torchrun, else ``device`` itself.
    """
    device = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def finish() -> None:
    """Leave the process group."""
    if active():
        dist.destroy_process_group()


def active() -> bool:
    """Whether there is a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 without a process group."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if active() else 1


def is_main() -> bool:
    """Whether this rank writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait for all ranks."""
    if active():
        dist.barrier()


def sum_(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over ranks, in place."""
    if active():
        dist.all_reduce(tensor)
    return tensor


def share(count: Tensor) -> Tensor:
    """How much this rank's mean counts in the mean over ranks, which count different numbers of things."""
    return count * world_size() / sum_(count.clone()).clamp_min(1)


def mean_(tensor: Tensor) -> Tensor:
    """Replace a tensor by its mean over ranks, in place."""
    return sum_(tensor).div_(world_size()) if active() else tensor


def total(value: float) -> float:
    """Sum of a number over ranks. It travels on a CPU tensor or, with NCCL, on the current device."""
    if not active():
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return float(sum_(torch.tensor(value, dtype=torch.float64, device=device)))


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank."""
    return total(float(flag)) > 0


def gather(value: Any) -> list[Any]:
    """A small plain value of every rank, on all ranks."""
    if not active():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast_module(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if active():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def mean_gradients_(parameters: Iterable[nn.Parameter], statistics: Tensor) -> Tensor:
    """Average gradients over ranks in place, and a vector of statistics with them, in one message.

    A parameter that took no part in the loss gets a zero gradient, so that all ranks send the same message.

    Returns:
        The averaged statistics.
    """
    if not active():
        return statistics
    parameters = list(parameters)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = mean_(torch.cat([g.flatten() for g in grads] + [statistics.to(grads[0].dtype)]))
    sizes = [g.numel() for g in grads]
    for parameter, grad, mean in zip(parameters, grads, flat[: sum(sizes)].split(sizes), strict=True):
        parameter.grad = grad.copy_(mean.view_as(grad))
    return flat[sum(sizes) :]


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance of all elements over all ranks, float64 scalars. Two passes, so stable."""
    x = x.double()
    count = x.numel() if not active() else total(x.numel())
    mean = sum_(x.sum()) / count
    return mean, sum_((x - mean).square().sum()) / count
