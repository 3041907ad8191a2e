"""FlatAdam against PyTorch's own optimiser and clipping, parameter by parameter."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embodied.optimizer import FlatAdam


def network() -> nn.Sequential:
    """Two types, and a convolution in channels_last, as policies have them."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3)
    conv.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=torch.channels_last))
    return nn.Sequential(conv, nn.Flatten(), nn.Linear(12, 4), nn.ELU(), nn.Linear(4, 1).double())


def run(net: nn.Sequential, x: Tensor) -> Tensor:
    return net[4](net[3](net[2](net[1](net[0](x)))).double()).sum()


def groups_of(net: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(net[0].parameters()), [*net[2].parameters(), *net[4].parameters()]]


RATES, MAX_NORM = [1e-2, 3e-3], 0.5


class Plain:
    """The same by ``torch.optim.Adam`` and ``clip_grad_norm_``."""

    def __init__(self, groups: list[list[nn.Parameter]]) -> None:
        self.groups = groups
        settings = [{"params": group, "lr": rate} for group, rate in zip(groups, RATES, strict=True)]
        self.adam = torch.optim.Adam(settings, eps=1e-5)

    def descend(self, net: nn.Sequential, x: Tensor) -> list[float]:
        self.adam.zero_grad()
        run(net, x).backward()
        norms = [float(nn.utils.clip_grad_norm_(group, MAX_NORM)) for group in self.groups]
        self.adam.step()
        return norms


def descend(optimizer: FlatAdam, net: nn.Sequential, x: Tensor) -> list[float]:
    optimizer.zero_grad()
    run(net, x).backward()
    norms = [float(norm) for norm in optimizer.clip(MAX_NORM)]
    optimizer.step(RATES)
    return norms


def batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 2, 4, 4, generator=generator) for _ in range(count)]


def assert_equal(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, msg=name)


def test_it_takes_the_steps_of_torchs_adam() -> None:
    mine, theirs = network(), network()
    flat, plain = FlatAdam(groups_of(mine), 1.0, eps=1e-5), Plain(groups_of(theirs))
    for x in batches(20):
        assert descend(flat, mine, x) == pytest.approx(plain.descend(theirs, x), rel=1e-5)
    assert_equal(mine, theirs)
    assert mine[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mine_first", [True, False])
def test_states_are_those_of_torchs_adam(mine_first: bool) -> None:
    mine, theirs = network(), network()
    flat, plain = FlatAdam(groups_of(mine), 1.0, eps=1e-5), Plain(groups_of(theirs))
    xs = batches(10)
    for x in xs[:5]:
        descend(flat, mine, x)
        plain.descend(theirs, x)
    if mine_first:
        other = Plain(groups_of(theirs))
        other.adam.load_state_dict(copy.deepcopy(flat.state_dict()))
        for settings, rate in zip(other.adam.param_groups, RATES, strict=True):
            settings["lr"] = rate
        plain = other
    else:
        other_flat = FlatAdam(groups_of(mine), 1.0, eps=1e-5)
        other_flat.load_state_dict(copy.deepcopy(plain.adam.state_dict()))
        flat = other_flat
    for x in xs[5:]:
        descend(flat, mine, x)
        plain.descend(theirs, x)
    assert_equal(mine, theirs)


def test_a_state_before_the_first_step_is_empty_and_loads() -> None:
    flat = FlatAdam(groups_of(network()), 1.0)
    state = flat.state_dict()
    assert state["state"] == {}
    flat.load_state_dict(state)


def test_a_group_that_is_left_out_does_not_move_and_its_norm_is_zero() -> None:
    net = network()
    before = copy.deepcopy(net)
    flat = FlatAdam(groups_of(net), 1.0)
    (x,) = batches(1)
    flat.zero_grad()
    run(net, x).backward()
    flat.leave_out(0)
    norms = flat.clip(MAX_NORM)
    flat.step(RATES)
    assert norms[0] == 0 and norms[1] > 0
    assert torch.equal(net[0].weight, before[0].weight)
    assert not torch.equal(net[2].weight, before[2].weight)
    assert set(flat.state_dict()["state"]) == {2, 3, 4, 5}  # those of the second group alone
    assert descend(flat, net, x)[0] > 0
    assert not torch.equal(net[0].weight, before[0].weight)


def _load(net: nn.Sequential, state: dict[str, Any]) -> None:
    net.load_state_dict(state)


def _none(net: nn.Sequential, state: dict[str, Any]) -> None:
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)


@pytest.mark.parametrize("replace", [_load, _none])
def test_values_that_were_loaded_meanwhile_are_what_is_trained(replace: Any) -> None:
    mine, theirs = network(), network()
    flat, plain = FlatAdam(groups_of(mine), 1.0, eps=1e-5), Plain(groups_of(theirs))
    x, y = batches(2)
    descend(flat, mine, x)
    plain.descend(theirs, x)
    state = {name: 2 * value for name, value in network().state_dict().items()}
    for net in (mine, theirs):
        replace(net, copy.deepcopy(state))
    descend(flat, mine, y)
    plain.descend(theirs, y)
    assert_equal(mine, theirs)


def test_memory_that_was_replaced_is_taken_back() -> None:
    mine, theirs = network(), network()
    flat, plain = FlatAdam(groups_of(mine), 1.0, eps=1e-5), Plain(groups_of(theirs))
    for parameter in mine.parameters():
        parameter.data = parameter.detach().clone()
    (x,) = batches(1)
    descend(flat, mine, x)
    plain.descend(theirs, x)
    assert_equal(mine, theirs)


def test_an_empty_group_has_no_norm_and_no_step() -> None:
    net = nn.Linear(2, 1)
    flat = FlatAdam([list(net.parameters()), []], 1.0)
    flat.zero_grad()
    net(torch.ones(1, 2)).sum().backward()
    norms = flat.clip(100.0)
    flat.step([1e-2, 1e-2])
    assert [float(x) for x in norms] == pytest.approx([3**0.5, 0.0])


def test_a_copy_that_would_train_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.deepcopy(FlatAdam(groups_of(network()), 1.0))


def test_the_state_of_other_parameters_is_refused() -> None:
    def stepped(*sizes: int) -> FlatAdam:
        net = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))
        flat = FlatAdam([list(net.parameters())], 1.0)
        flat.zero_grad()
        net(torch.ones(1, sizes[0])).sum().backward()
        flat.step([1e-3])
        return flat

    state = stepped(3, 4, 1).state_dict()
    with pytest.raises(ValueError, match=r"of \[4\] parameters a group, not of \[6\]"):
        stepped(3, 4, 4, 1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"a moment has shape \(1, 4\), not \(2, 4\)"):
        stepped(3, 4, 2).load_state_dict(state)


def test_what_was_frozen_or_converted_is_told() -> None:
    net = nn.Linear(2, 1)
    flat = FlatAdam([list(net.parameters())], 1.0)
    net.bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="frozen"):
        flat.zero_grad()
    net.bias.requires_grad_(True)
    net.double()
    with pytest.raises(RuntimeError, match="moved or converted"):
        flat.zero_grad()


def test_a_parameter_belongs_to_one_group() -> None:
    net = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="twice"):
        FlatAdam([list(net.parameters()), [net.bias]], 1.0)


def test_parameters_begin_where_memory_is_aligned() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 5))
    flat = FlatAdam([list(net.parameters())], 1.0)
    flat.zero_grad()
    starts = [p.storage_offset() for p in net.parameters()]
    assert starts == [0, 16, 32, 48]
    assert [p.grad.storage_offset() for p in net.parameters() if p.grad is not None] == starts
