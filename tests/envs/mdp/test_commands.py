"""Velocity commands: their laws, their timing, and fixing them."""

import pytest
import torch

from envs.mdp.commands import CommandConfig, VelocityCommand

CPU = torch.device("cpu")


def make(n=4000, **config):
    command = VelocityCommand(CommandConfig(**config), n, CPU, dt=0.02)
    generator = torch.Generator().manual_seed(0)
    command.draw(torch.arange(n), generator)
    return command, generator


def test_draws_follow_their_law():
    command, _ = make(lin_vel_x=(-0.6, 1.0), standing=0.25)
    moving = command.value[command.moving]
    low, high = moving.min(0).values, moving.max(0).values
    assert torch.all(low >= torch.tensor([-0.6, -0.4, -0.8])) and torch.all(high <= torch.tensor([1.0, 0.4, 0.8]))
    assert abs(float(moving[:, 0].mean()) - 0.2) < 0.03
    assert abs(float((~command.moving).float().mean()) - 0.25) < 0.02
    assert bool((command.value[~command.moving] == 0).all())


def test_straight_commands_are_the_others_without_yaw_rate():
    (plain, _), (some, _) = make(standing=0.25), make(standing=0.25, straight=0.5)
    straight = (some.value[:, 2] == 0) & some.moving
    assert abs(float(straight.float().mean()) - 0.5) < 0.02
    assert abs(float((~some.moving).float().mean()) - 0.25) < 0.02
    assert torch.equal(some.value[:, :2][straight], plain.value[:, :2][straight])
    assert torch.equal(some.value[~straight & some.moving], plain.value[~straight & some.moving])


def test_small_commands_are_zero():
    command, _ = make(lin_vel_x=(-0.2, 0.2), lin_vel_y=(0.0, 0.0), ang_vel_z=(0.0, 0.0), standing=0.0, dead_band=0.1)
    assert abs(float(command.moving.float().mean()) - 0.5) < 0.03
    assert float(command.value[command.moving].norm(dim=-1).min()) >= 0.1


def test_new_command_after_the_interval():
    command, generator = make(n=8, interval_s=(0.1, 0.1), standing=0.0)
    before = command.value.clone()
    for _ in range(4):
        command.step(generator)
    assert torch.equal(command.value, before)
    command.step(generator)
    assert not torch.equal(command.value, before)


def test_fixed_command_survives_draws():
    command, generator = make(n=4)
    command.fix([0.5, 0.0, -0.2])
    command.draw(torch.arange(4), generator)
    torch.testing.assert_close(command.value, torch.tensor([[0.5, 0.0, -0.2]]).repeat(4, 1))
    command.fix([0.0, 0.0, 0.0])
    assert not command.moving.any()


def test_displacement_is_along_the_heading():
    command, _ = make(n=2)
    command.fix([0.5, 0.25, 9.0])
    moved = command.displacement(torch.tensor([0.0, torch.pi / 2]))
    torch.testing.assert_close(moved, torch.tensor([[0.01, 0.005], [-0.005, 0.01]]))


@pytest.mark.parametrize(
    "config",
    [
        {"lin_vel_x": (1.0, 0.0)},
        {"standing": 1.5},
        {"straight": -0.1},
        {"standing": 0.6, "straight": 0.6},
        {"ang_vel_z": (0.0,)},
        {"lin_vel_y": None},
        {"interval_s": (-1.0, 1.0)},
    ],
)
def test_bad_configuration(config):
    with pytest.raises(ValueError, match="commands"):
        CommandConfig(**config)


def test_a_robot_told_to_stop_counts_as_moving_until_it_has_settled():
    command = VelocityCommand(CommandConfig(settle_s=0.06), 2, CPU, dt=0.02)
    generator = torch.Generator().manual_seed(0)
    command.reset(torch.arange(2), generator)
    command.time_left[:] = 100.0
    command.fix([0.5, 0.0, 0.0])
    command.step(generator)
    assert command.moving.all()
    command.fix([0.0, 0.0, 0.0])
    seen = []
    for _ in range(5):
        seen.append(bool(command.moving[0]))
        command.step(generator)
    assert seen == [True, True, True, False, False]


def test_an_episode_that_begins_without_a_command_stands_at_once():
    command = VelocityCommand(CommandConfig(settle_s=0.5, standing=1.0), 3, CPU, dt=0.02)
    command.reset(torch.arange(3), torch.Generator())
    assert not command.moving.any()
