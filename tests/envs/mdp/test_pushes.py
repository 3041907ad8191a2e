"""Pushes: when, how strong, in which direction."""

import pytest
import torch

from envs.mdp.pushes import PushConfig, Pushes

CPU = torch.device("cpu")


def test_pushes_come_after_their_interval_with_their_speed_in_all_directions():
    n, generator = 2000, torch.Generator().manual_seed(0)
    pushes = Pushes(PushConfig(speed=(0.5, 0.7), interval_s=(0.06, 0.06)), n, CPU, dt=0.02)
    pushes.draw(torch.arange(n), generator)
    qvel = torch.zeros(n, 6, dtype=torch.float64)
    for _ in range(2):
        assert pushes.step(qvel, generator) is None
    assert float(qvel.abs().max()) == 0.0
    pushed = pushes.step(qvel, generator)
    assert pushed is not None and torch.equal(pushed, torch.arange(n))
    speed = qvel[:, :2].norm(dim=-1)
    assert float(speed.min()) >= 0.5 and float(speed.max()) <= 0.7
    assert float(qvel[:, :2].mean(0).norm()) < 0.03
    assert float(qvel[:, 2:].abs().max()) == 0.0


def test_no_speed_no_push():
    pushes = Pushes(PushConfig(), 3, CPU, dt=0.02)
    qvel = torch.zeros(3, 6)
    for _ in range(10):
        pushes.step(qvel, torch.Generator())
    assert not pushes.active and float(qvel.abs().max()) == 0.0


@pytest.mark.parametrize("config", [{"speed": (0.5, 0.2)}, {"interval_s": (-1.0, 2.0)}, {"speed": 0.5}])
def test_bad_limits(config):
    with pytest.raises(ValueError, match=r"low <= high"):
        PushConfig(**config)
