from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.graphics import NoGraphicsError, choose_gl
from scripts import filming
from scripts.filming import FOUND, FollowCamera, film, overlay

from ..helpers.video import read_video
from .agents import make_player


@pytest.fixture(scope="module")
def _graphics() -> None:
    try:
        choose_gl()
    except NoGraphicsError as error:
        pytest.skip(str(error))


class NoCamera:
    """Grey frames, and a note of every command at that time."""

    seen: list[list[float]] = []  # noqa: RUF012 - cleared by the test that reads it

    def __init__(self, player: Any, size: tuple[int, int], period: float) -> None:
        self.player, self.size = player, size

    def shoot(self, model: Any, data: Any) -> np.ndarray:
        self.seen.append(list(self.player.command.values()))
        return np.full((self.size[1], self.size[0], 3), 120, np.uint8)

    def close(self) -> None:
        pass


@pytest.fixture
def _no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    NoCamera.seen.clear()
    monkeypatch.setattr(filming, "_camera", NoCamera)


@pytest.mark.usefixtures("_no_camera")
def test_a_decision_of_several_control_steps_is_filmed_at_each(tmp_path: Path):
    player = make_player("pick_cube", chunk=4)
    assert player.spec.control_dt == pytest.approx(0.2)
    result = film(player, tmp_path / "film.mp4", seconds=1.0, fps=20, size=(320, 180))
    frames, fps = read_video(tmp_path / "film.mp4")
    assert (result["frames"], len(frames), fps, player.steps) == (20, 20, 20, 5)
    assert player.time == pytest.approx(1.0)


@pytest.mark.usefixtures("_no_camera")
def test_a_film_loses_no_time_where_episodes_end_within_a_decision(tmp_path: Path):
    player = make_player("hopper", chunk=8)
    result = film(player, tmp_path / "film.mp4", seconds=3.0, fps=25, size=(320, 180))
    assert result["episodes_ended"] > 0 and player.control_steps < 8 * player.steps
    assert player.time == pytest.approx(player.control_steps * 0.008)
    assert result["seconds"] == pytest.approx(player.time, abs=8 * 0.008)
    assert result["frames"] == 75


@pytest.mark.usefixtures("_no_camera")
def test_a_film_runs_in_real_time_and_follows_its_script(tmp_path: Path):
    player = make_player(push={"speed": [0.0, 0.0]})
    script = [(1.0, "stand", [0.0, 0.0, 0.0]), (3.0, "walk", [0.5, 0.0, 0.25])]
    done: list[float] = []
    result = film(player, tmp_path / "film.mp4", seconds=2.0, fps=25, size=(320, 180), script=script,
                  on_progress=lambda now, total: done.append(now / total))  # fmt: skip
    frames, fps = read_video(tmp_path / "film.mp4")
    assert (result["frames"], result["seconds"], len(frames), fps) == (50, 2.0, 50, 25)  # 50 Hz: every second step
    assert player.steps == 100
    commands = np.array(NoCamera.seen)
    changed = int(commands.any(axis=1).argmax())
    assert changed in (12, 13) and commands[-1].tolist() == [0.5, 0.0, 0.25]  # a quarter of two seconds stands
    assert done[0] == 0 and done == sorted(done) and done[-1] < 1


@pytest.mark.usefixtures("_no_camera")
def test_other_control_rates(tmp_path: Path):
    player = make_player("hopper")  # 125 Hz
    result = film(player, tmp_path / "film.mp4", seconds=0.4, fps=25, size=(64, 48))
    assert (result["frames"], player.steps) == (10, 50)
    result = film(make_player("hopper"), tmp_path / "film.mp4", seconds=0.4, fps=1000, size=(64, 48))
    assert result["frames"] == 50  # no more than there are


def test_the_panel_shows_asked_and_measured():
    player = make_player()
    player.ask([1.0, 0.0, 0.0])
    player.step()
    player._velocity = np.array([0.5, 0.0, 0.0])
    blank = np.full((480, 854, 3), 200, np.uint8)
    picture = overlay(blank.copy(), player, "walk")
    assert (picture[120:, 340:] == 200).all() and picture[:90, :300].mean() < 120  # a dark panel in the corner
    bar = picture[44]  # the row of the forward bar: centre at x 132, full scale 52 to its right
    blue = np.flatnonzero(np.abs(bar[60:184].astype(int) - FOUND).sum(-1) < 60) + 60
    assert 128 <= blue.min() <= 134 and 155 <= blue.max() <= 162  # half of full scale
    assert (overlay(blank.copy(), make_player("hopper"), "")[:40, :180] < 200).any()


def test_the_panel_is_as_wide_as_the_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    player, blank = make_player("hopper"), np.full((480, 854, 3), 255, np.uint8)

    def width() -> int:
        return int((overlay(blank.copy(), player, "")[2] < 200).any(-1).sum())

    short = width()
    monkeypatch.setattr(type(player), "instruction", "pick up the cyan cube and put it on the orange bowl")
    assert player.instruction and width() > short + 200


@pytest.mark.render
@pytest.mark.usefixtures("_graphics")
def test_the_camera_follows_but_does_not_bob():
    player = make_player(initial={"yaw": 0.0})
    model, data = player.pose()
    camera = FollowCamera(model, data, 160, 96)
    try:
        frame = camera.shoot(model, data)
        assert frame.shape == (96, 160, 3) and frame.std() > 5
        start = camera._camera.lookat.copy()
        data.qpos[0] += 0.2
        data.qpos[2] += 0.1
        camera.shoot(model, data)
        moved = camera._camera.lookat - start
        assert 0.02 < moved[0] < 0.1 and abs(moved[2]) < 0.01
        data.qpos[0] += 50.0  # a new episode elsewhere
        camera.shoot(model, data)
        assert camera._camera.lookat[0] == pytest.approx(data.qpos[0])
    finally:
        camera.close()


@pytest.mark.render
@pytest.mark.usefixtures("_graphics")
def test_a_film_of_terrain_draws_what_is_around_the_robot_from_the_usual_distance():
    tiles = {"kinds": ["slope_up"], "levels": 2, "start_level": 0}
    player = make_player("go2_velocity_rough", terrain=tiles)
    model, data = player.scene()
    assert model.nhfielddata < player.pose()[0].nhfielddata and player.scene()[0] is model
    camera = FollowCamera(model, data, 160, 96)
    try:
        assert camera._camera.distance == pytest.approx(5.4 * 0.3337, abs=0.01)
        player.env.physics.field("qpos")[0, 0] += 6.0  # beyond what was drawn
        other, moved = player.scene()
        assert other is not model and camera.shoot(other, moved).std() > 5
        assert camera._model is other
    finally:
        camera.close()


@pytest.mark.render
@pytest.mark.usefixtures("_graphics")
@pytest.mark.parametrize("task", ["hopper", "ant"])
def test_classics_can_be_filmed(task: str, tmp_path: Path):
    result = film(make_player(task), tmp_path / "film.mp4", seconds=0.2, size=(160, 96))
    frames, _ = read_video(tmp_path / "film.mp4")
    assert len(frames) == result["frames"] and frames[0].std() > 5
