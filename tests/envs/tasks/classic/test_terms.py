"""Rewards and terminations of the classics against numbers worked by hand."""

from __future__ import annotations

import math

import torch

from envs.tasks.classic import rewards, terminations
from envs.tasks.classic.state import ClassicState


def state(**changes: object) -> ClassicState:
    values = {
        "height": torch.tensor([0.5, 1.0, math.nan]),
        "pitch": torch.tensor([0.1, -0.3, 0.0]),
        "qpos": torch.zeros(3, 3),
        "qvel": torch.zeros(3, 3),
        "x_velocity": torch.tensor([1.0, -2.0, 0.0]),
        "action": torch.tensor([[1.0, -2.0], [0.0, 0.5], [0.0, 0.0]]),
        "contact_force": torch.ones(3, 2, 6),
        "healthy": torch.tensor([True, False, True]),
    }
    return ClassicState(**(values | changes))


def test_rewards() -> None:
    s = state()
    assert rewards.forward(s).tolist() == [1.0, -2.0, 0.0]
    assert rewards.healthy(s).tolist() == [1.0, 0.0, 1.0]
    assert rewards.control(s).tolist() == [5.0, 0.25, 0.0]
    assert rewards.contact(s).tolist() == [12.0, 12.0, 12.0]


def test_terminations_and_nan() -> None:
    s = state()
    assert terminations.height_outside(s, 0.7, math.inf).tolist() == [True, False, True]
    assert terminations.pitch_outside(s, -0.2, 0.2).tolist() == [False, True, False]
    # the first two coordinates are not looked at, the third and every velocity are
    qpos = torch.tensor([[200.0, 200.0, 0.0], [0.0, 0.0, -101.0], [0.0, 0.0, 0.0]])
    qvel = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    assert terminations.state_outside(state(qpos=qpos, qvel=qvel), -100.0, 100.0).tolist() == [False, True, True]
