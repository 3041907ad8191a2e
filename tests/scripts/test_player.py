from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from embodied.types import StepResult
from scripts.overrides import UserError
from scripts.player import Player, planar_velocity, tour

from .agents import make_player

CALM: dict[str, Any] = {"push": {"speed": [0.0, 0.0]}}


def test_planar_velocity_is_in_the_base_frame():
    half = math.pi / 4  # the robot faces +y
    qpos = np.array([0, 0, 0.3, math.cos(half), 0, 0, math.sin(half)])
    qvel = np.array([-0.25, 2.0, 0.1, 0, 0, 0.7])  # it moves along +y, and along -x, which is its left
    np.testing.assert_allclose(planar_velocity(qpos, qvel), [2.0, 0.25, 0.7], atol=1e-12)


def test_commands_are_held():
    player = make_player()
    player.ask([0.5, -0.25, 0.125])
    for _ in range(3):
        result = player.step()
    assert player.command == {"lin_vel_x": 0.5, "lin_vel_y": -0.25, "ang_vel_z": 0.125}
    start = next(i for i, name in _offsets(player) if name == "command")
    assert result.obs["policy"][0, start : start + 3].tolist() == [0.5, -0.25, 0.125]
    player.reset()
    player.step()
    assert player.command["lin_vel_x"] == 0.5
    player.ask(None)
    player.reset(5)
    assert player.command["lin_vel_x"] != 0.5


def _offsets(player: Player) -> list[tuple[int, str]]:
    found, at = [], 0
    for term in player.spec.obs["policy"].terms:
        found.append((at, term.name))
        at += term.size
    return found


def test_measured_velocities_follow_the_truth():
    player = make_player(**CALM)
    player.ask([0.0, 0.0, 0.0])
    for _ in range(100):
        player.step()
    assert list(player.measured) == ["lin_vel_x", "lin_vel_y", "ang_vel_z"]
    qvel = player.pose()[1].qvel
    qvel[:] = 0
    truth = planar_velocity(player.env.physics.field("qpos")[0].numpy(), player.env.physics.field("qvel")[0].numpy())  # type: ignore[attr-defined]
    np.testing.assert_allclose(list(player.measured.values()), truth, atol=0.15)
    assert player.time == pytest.approx(2.0)


class Ending:
    """Falls after two steps; the policy's memory must begin anew then."""

    def __init__(self, player: Player) -> None:
        self.player, self.steps = player, 0
        self._step = player.env.step

    def __call__(self, action: torch.Tensor) -> Any:
        result = self._step(action)
        self.steps += 1
        result.terminated[:] = self.steps % 2 == 0
        result.truncated[:] = False
        result.metrics["fall"] = result.terminated.float()
        return result


def test_ends_are_counted_and_forgotten(monkeypatch: pytest.MonkeyPatch):
    player = make_player(policy="gru")
    monkeypatch.setattr(player.env, "step", Ending(player))
    player.step()
    assert bool(player._memory["h"].any()) and player.ended == 0
    player.step()
    assert not bool(player._memory["h"].any())
    assert (player.ended, player.fallen) == (1, 1) and player.measured == {}


@pytest.mark.parametrize(("task", "falls"), [("hopper", True), ("push", False)])
def test_what_ends_without_success_is_a_fall_where_nothing_else_ends(task: str, falls: bool):
    player = make_player(task)
    done = torch.ones(1, dtype=torch.bool)
    player._end(StepResult(player._obs, torch.zeros(1), done, ~done, player._obs, {}))
    assert (player.ended, player.fallen) == (1, int(falls))


def test_a_task_without_commands():
    player = make_player("hopper")
    player.step()
    assert not player.commandable and player.command == {} and player.measured == {}
    with pytest.raises(UserError, match="hopper takes no command"):
        player.ask([0.0])
    model, data = player.pose()
    assert model.nq == 6 and np.isfinite(data.qpos).all()


def test_mistakes_are_explained():
    player = make_player()
    with pytest.raises(UserError, match="go2_velocity takes lin_vel_x, lin_vel_y, ang_vel_z"):
        player.ask([0.5])
    hopper = make_player("hopper")
    with pytest.raises(UserError, match="trained on hopper and sees 11 values; go2_velocity gives 47"):
        Player(player.env, hopper.agent)


def test_the_tour_stays_within_the_limits():
    limits = {"lin_vel_x": (-0.6, 1.0), "lin_vel_y": (-0.4, 0.4), "ang_vel_z": (-0.8, 0.8)}
    parts = tour(limits)
    values = np.array([part[2] for part in parts])
    low, high = np.array(list(limits.values())).T
    assert (values >= low).all() and (values <= high).all()
    assert values[:, 0].max() > 0.9 and values[:, 0].min() < -0.3  # fast forward, and back
    assert values[:, 1].max() > 0.3 and values[:, 1].min() < -0.3 and np.abs(values[:, 2]).max() > 0.6
    assert 18 <= sum(part[0] for part in parts) <= 22
    other = tour({"height": (0.1, 0.4), "tilt": (-1.0, 1.0)})
    assert [0.4, 0.0] in [part[2] for part in other] and [0.0, -1.0] in [part[2] for part in other]
