from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from policies.foundation.frozen import PartlyFrozen


class Net(PartlyFrozen):
    def __init__(self) -> None:
        super().__init__()
        self.base, self.tip = nn.Linear(2, 2), nn.Linear(2, 1)
        self.base.requires_grad_(False)
        self.settle()


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.critic = Net(), nn.Linear(2, 1)


def test_the_state_holds_what_learns_alone() -> None:
    assert set(Policy().state_dict()) == {"network.tip.weight", "network.tip.bias", "critic.weight", "critic.bias"}


def test_a_state_goes_back_and_frozen_weights_stay() -> None:
    source, target = Policy(), Policy()
    base = target.network.base.weight.clone()
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.network.tip.weight, source.network.tip.weight)
    assert torch.equal(target.network.base.weight, base)


def test_what_learns_must_be_there() -> None:
    state = Policy().state_dict()
    del state["network.tip.bias"]
    missing, unexpected = Policy().load_state_dict(state, strict=False)
    assert missing == ["network.tip.bias"] and unexpected == []


def test_copies_share_frozen_weights_and_have_their_own_others() -> None:
    policy = Policy()
    copied = copy.deepcopy(policy)
    assert copied.network.base.weight is policy.network.base.weight
    assert copied.network.tip.weight is not policy.network.tip.weight
    with torch.no_grad():
        policy.network.tip.weight += 1
    assert torch.equal(copied.network.tip.weight + 1, policy.network.tip.weight)
    assert copied.state_dict().keys() == policy.state_dict().keys()
    copied.load_state_dict(policy.state_dict())
    assert torch.equal(copied.network.tip.weight, policy.network.tip.weight)


def test_a_moving_average_leaves_frozen_weights_as_they_are() -> None:
    policy = Policy()
    before = policy.network.base.weight.clone()
    average = AveragedModel(policy, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(policy)
    tip = policy.network.tip.weight.clone()
    with torch.no_grad():
        policy.network.tip.weight += 2
    average.update_parameters(policy)
    assert torch.equal(policy.network.base.weight, before)
    averaged: Any = average.module
    torch.testing.assert_close(averaged.network.tip.weight, tip + 1)


def test_nothing_frozen_means_an_ordinary_module() -> None:
    net = Net()
    net.requires_grad_(True)
    net.settle()
    assert set(net.state_dict()) == {f"{part}.{kind}" for part in ("base", "tip") for kind in ("weight", "bias")}
