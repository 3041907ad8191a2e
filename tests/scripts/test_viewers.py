from __future__ import annotations

import contextlib
import socket
import sys
import time
import types
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from scripts import viewers
from scripts.overrides import UserError
from scripts.viewers import (
    BACKSPACE,
    COMMA,
    DOWN,
    LEFT,
    SPACE,
    UP,
    Keyboard,
    Pace,
    WebPage,
    clipped,
    status,
    watch_in_window,
)

from .agents import make_player


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_that_of_the_wall():
    clock = Clock()
    pace = Pace(0.02, clock)
    assert pace.steps() == 1 and pace.steps() == 0
    clock.now = 0.101
    assert pace.steps() == 5  # due at 0.02, 0.04, ... 0.1
    pace.speed = 0.5
    clock.now = 0.199
    assert pace.steps() == 2  # due at 0.12 and 0.16
    clock.now = 9.0
    assert pace.steps() == 1  # it does not catch up with seconds


def test_commands_are_clipped():
    assert clipped([2.0, -2.0], [(-1, 1), (-0.5, 0.5)]) == [1, -0.5]
    assert clipped(None, [(-1, 1), (-0.5, 0.5)]) == [0, 0]


# The browser ---------------------------------------------------------------------------------------------------------


class Widget:
    """Stands in for a slider or a button of viser."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.value = settings, settings.get("initial_value")
        self.label = self.content = ""
        self._calls: list[Callable] = []

    def on_click(self, call: Callable) -> None:
        self._calls.append(call)

    on_update = on_click

    def fire(self) -> None:
        for call in self._calls:
            call(None)


class Gui:
    """Remembers every widget by its label."""

    def __init__(self) -> None:
        self.made: dict[str, Widget] = {}

    def _make(self, label: str, **settings: Any) -> Widget:
        return self.made.setdefault(label, Widget(**settings))

    add_slider = add_button = _make

    def add_markdown(self, content: str) -> Widget:
        return self._make("status")

    @contextlib.contextmanager
    def add_folder(self, label: str, **settings: Any) -> Iterator[None]:
        yield


class Scene:
    shown = 0

    def create_scene_gui(self, **settings: float) -> None:
        assert settings["camera_distance"] > 0

    def update_from_mjdata(self, data: Any) -> None:
        self.shown += 1


@pytest.fixture
def page() -> tuple[WebPage, Gui]:
    server = types.SimpleNamespace(gui=Gui())
    return WebPage(make_player(), server, Scene(), [0.3, 0.0, 9.0]), server.gui


def test_sliders_set_the_command(page: tuple[WebPage, Gui]):
    web, gui = page
    web.round()
    assert web.player.command == pytest.approx({"lin_vel_x": 0.3, "lin_vel_y": 0.0, "ang_vel_z": 0.8})
    gui.made["left m/s"].value = -0.2
    web.round()
    assert web.player.command["lin_vel_y"] == pytest.approx(-0.2)
    gui.made["Stop"].fire()
    web.round()
    assert set(web.player.command.values()) == {0.0}
    limits = gui.made["forward m/s"].settings
    assert (limits["min"], limits["max"]) == web.player.spec.command["lin_vel_x"]


def test_pause_reset_and_speed(page: tuple[WebPage, Gui]):
    web, gui = page
    web.round()
    steps = web.player.steps
    assert steps >= 1
    gui.made["Pause"].fire()
    time.sleep(0.05)
    web.round()
    assert web.player.steps == steps and gui.made["Pause"].label == "Go on"
    gui.made["Pause"].fire()
    gui.made["Reset"].fire()
    time.sleep(0.025)
    web.round()
    assert 0 < web.player.steps <= 13 and gui.made["Pause"].label == "Pause"
    gui.made["Speed"].value = 0.5
    gui.made["Speed"].fire()
    assert web.pace.speed == 0.5
    web._told = 0.0
    time.sleep(0.05)
    web.round()
    assert web.scene.shown >= 2 and gui.made["status"].content == status(web.player)
    assert "**go2_velocity**" in status(web.player) and "forward: +0.30 asked" in status(web.player)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_page_is_served_on_this_machine_only(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("mjviser")
    player, port = make_player(), _free_port()
    pages: list[str] = []

    def fetched() -> bool:
        if player.steps > 2 and not pages:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                pages.append(answer.read(100_000).decode(errors="replace"))
        return bool(pages)

    viewers.watch_in_browser(player, port, [0.5, 0.0, 0.0], until=fetched)
    assert "<html" in pages[0].lower()
    assert f"open http://127.0.0.1:{port} in a browser" in capsys.readouterr().err
    assert player.command["lin_vel_x"] == 0.5 and player.steps > 2


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mjviser", None)
    with pytest.raises(UserError, match="needs the extra `view`"):
        viewers.watch_in_browser(make_player())


# The window ----------------------------------------------------------------------------------------------------------


def test_keys_change_the_command_within_its_limits():
    keyboard = Keyboard(make_player(), [0.0, 0.0, 0.0])
    for key in (UP, UP, LEFT, COMMA):
        keyboard.press(key)
    assert keyboard.asked == pytest.approx([0.32, 0.08, 0.16])  # tenths of the ranges 1.6, 0.8 and 1.6
    for _ in range(30):
        keyboard.press(DOWN)
    assert keyboard.asked[0] == -0.6
    keyboard.press(SPACE)
    keyboard.press(BACKSPACE)
    keyboard.press(999)
    assert keyboard.paused and keyboard.reset_asked
    hopper = Keyboard(make_player("hopper"))
    hopper.press(UP)
    assert hopper.asked == []


class Window:
    """Stands in for MuJoCo's window: presses a key a round, and is closed after some."""

    def __init__(self, model: Any, data: Any, key_callback: Callable[[int], None]) -> None:
        self.data, self.press, self.poses = data, key_callback, []  # type: ignore[var-annotated]
        self.cam = types.SimpleNamespace(lookat=np.zeros(3))

    def is_running(self) -> bool:
        if len(self.poses) == 2:
            self.press(UP)
        return len(self.poses) < 8

    def sync(self) -> None:
        self.poses.append(self.data.qpos.copy())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("task", ["go2_velocity", "hopper"])
def test_the_window_shows_what_happens(task: str, monkeypatch: pytest.MonkeyPatch):
    import mujoco.viewer

    opened: list[Window] = []
    monkeypatch.setenv("DISPLAY", ":0")

    def launch(*arguments: Any, **settings: Any) -> Window:
        opened.append(Window(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr(mujoco.viewer, "launch_passive", launch)
    player = make_player(task)
    watch_in_window(player)
    assert player.steps >= 2 and np.abs(opened[0].poses[-1] - opened[0].poses[0]).max() > 1e-5
    np.testing.assert_allclose(opened[0].poses[-1], player.pose()[1].qpos)
    if task == "go2_velocity":
        assert player.command["lin_vel_x"] == pytest.approx(0.16)


def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UserError, match=r"needs a display.*try viewer=web or video=out\.mp4"):
        watch_in_window(make_player("hopper"))
