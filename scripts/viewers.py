"""Watching a policy live: in the browser (viser, mjviser) or in MuJoCo's own window. Both run in real time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .config import UserError
from .player import Player, in_words

HOST = "127.0.0.1"
BEHIND_S = 0.25
"""A simulation that falls further behind than this does not try to catch up."""


class Pace:
    """Keeps simulated time at ``speed`` times the wall's."""

    def __init__(self, dt: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.dt, self.speed, self._clock = dt, 1.0, clock
        self.restart()

    def restart(self) -> None:
        """Begin to count from now."""
        self._due = self._clock()

    def steps(self) -> int:
        """How many control periods are due now."""
        now, period = self._clock(), self.dt / self.speed
        if now - self._due > BEHIND_S:
            self._due = now
            return 1
        count = 0
        while self._due <= now:
            self._due += period
            count += 1
        return count


def watch_in_browser(
    player: Player, port: int = 8080, command: Sequence[float] | None = None, until: Callable[[], bool] = lambda: False
) -> None:
    """Serve the world on 127.0.0.1 until Ctrl-C, with the command on sliders, pause, reset and speed.

    command: where the sliders start.  until: asked after every round; True ends it.
    """
    try:
        import viser
        from mjviser import ViserMujocoScene
    except ImportError as error:
        raise UserError("viewer=web needs the extra `view`: pip install -e '.[view]'") from error
    server = viser.ViserServer(host=HOST, port=port, label=f"embodied: {player.spec.name}", verbose=False)
    try:
        page = WebPage(player, server, ViserMujocoScene(server, player.pose()[0], num_envs=1), command)
        print(f"open http://{HOST}:{server.get_port()} in a browser; Ctrl-C ends it", file=sys.stderr, flush=True)
        while not until():
            page.round()
            time.sleep(0.002)
    finally:
        server.stop()


class WebPage:
    """The controls beside the picture. Widgets only note what was asked; :meth:`round` acts on it in one thread."""

    def __init__(self, player: Player, server: Any, scene: Any, command: Sequence[float] | None = None) -> None:
        self.player, self.scene, self.pace = player, scene, Pace(player.spec.control_dt)
        self.paused, self._reset_asked, self._drawn, self._told = False, False, 0.0, 0.0
        gui = server.gui
        self._status = gui.add_markdown(status(player))
        self._pause = gui.add_button("Pause")
        self._pause.on_click(lambda _: self._toggle())
        gui.add_button("Reset").on_click(lambda _: setattr(self, "_reset_asked", True))
        speed = gui.add_slider("Speed", min=0.1, max=2.0, step=0.1, initial_value=1.0)
        speed.on_update(lambda _: setattr(self.pace, "speed", float(speed.value)))
        self.sliders = self._command_sliders(gui, command) if player.commandable else {}
        size = 3.2 * max(0.3, float(player.pose()[0].qpos0[2])) if player.commandable else -1.0
        scene.create_scene_gui(camera_distance=size * 1.6, camera_azimuth=118.0, camera_elevation=16.0)
        scene.update_from_mjdata(player.pose()[1])

    def _command_sliders(self, gui: Any, command: Sequence[float] | None) -> dict[str, Any]:
        limits = self.player.spec.command
        start = clipped(command, limits.values())
        sliders = {}
        with gui.add_folder("Command"):
            for (name, (low, high)), value in zip(limits.items(), start, strict=True):
                sliders[name] = gui.add_slider(
                    " ".join(in_words(name)), min=low, max=high, step=0.01, initial_value=value
                )
            stop = gui.add_button("Stop")
        stop.on_click(lambda _: self._stop())
        return sliders

    def _toggle(self) -> None:
        self.paused = not self.paused
        self._pause.label = "Go on" if self.paused else "Pause"

    def _stop(self) -> None:
        for slider in self.sliders.values():
            slider.value = 0.0

    def round(self) -> None:
        """Do what was asked, step what is due, show it at most 50 times a second."""
        if self._reset_asked:
            self._reset_asked = False
            self.player.reset()
        if self.sliders:
            self.player.ask([float(slider.value) for slider in self.sliders.values()])
        due = self.pace.steps()
        for _ in range(0 if self.paused else due):
            self.player.step()
        if due and time.perf_counter() - self._drawn > 0.02:
            self._drawn = time.perf_counter()
            self.scene.update_from_mjdata(self.player.pose()[1])
            if self._drawn > self._told + 0.2:
                self._told, self._status.content = self._drawn, status(self.player)


def clipped(command: Sequence[float] | None, limits: Iterable[tuple[float, float]]) -> list[float]:
    """A command within its limits; zeros without one."""
    limits = list(limits)
    values = [0.0] * len(limits) if command is None else list(command)
    return [min(max(value, low), high) for value, (low, high) in zip(values, limits, strict=True)]


def status(player: Player) -> str:
    """Time, reward, and what is asked and measured, in Markdown."""
    lines = [f"**{player.spec.name}** {player.time:.1f} s, reward {player.reward:.1f}, falls {player.fallen}"]
    measured = player.measured
    for name, value in player.command.items():
        if name in measured:
            word, unit = in_words(name)
            lines.append(f"{word}: {value:+.2f} asked, {measured[name]:+.2f} {unit} measured")
    return "  \n".join(lines)


# MuJoCo's window ----------------------------------------------------------------------------------------------------

UP, DOWN, LEFT, RIGHT, SPACE, BACKSPACE, COMMA, PERIOD = 265, 264, 263, 262, 32, 259, 44, 46  # GLFW key codes
KEYS = {UP: (0, 0.1), DOWN: (0, -0.1), COMMA: (1, 0.1), PERIOD: (1, -0.1), LEFT: (2, 0.1), RIGHT: (2, -0.1)}
HELP = "arrows: walk and turn; comma, period: sideways; space: pause; backspace: reset"


class Keyboard:
    """The keys of the window: they note what was asked; the loop acts on it."""

    def __init__(self, player: Player, command: Sequence[float] | None = None) -> None:
        self.paused, self.reset_asked = False, False
        self._limits = list(player.spec.command.values()) if player.commandable else []
        self.asked = clipped(command, self._limits) if player.commandable else []

    def press(self, key: int) -> None:
        """A key went down; codes as in GLFW."""
        if key == SPACE:
            self.paused = not self.paused
        elif key == BACKSPACE:
            self.reset_asked = True
        elif key in KEYS and KEYS[key][0] < len(self.asked):
            which, share = KEYS[key]
            low, high = self._limits[which]
            value = self.asked[which] + share * (high - low)
            self.asked[which] = round(min(max(value, low), high), 6)


def watch_in_window(player: Player, command: Sequence[float] | None = None) -> None:
    """Show the world in MuJoCo's window until it is closed."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("viewer=native needs a display, and there is none here; try viewer=web or video=out.mp4")
    import mujoco.viewer

    model, data = player.pose()
    keyboard, pace = Keyboard(player, command), Pace(player.spec.control_dt)
    print(HELP, file=sys.stderr, flush=True)
    with mujoco.viewer.launch_passive(model, data, key_callback=keyboard.press) as window:
        window.cam.lookat[:] = data.qpos[:3] if model.nq > 6 else model.stat.center
        while window.is_running():
            if keyboard.reset_asked:
                keyboard.reset_asked = False
                player.reset()
            if keyboard.asked:
                player.ask(keyboard.asked)
            for _ in range(0 if keyboard.paused else pace.steps()):
                player.step()
            with window.lock():
                _, now = player.pose()
                data.qpos[:], data.qvel[:] = now.qpos, now.qvel
                mujoco.mj_forward(model, data)
            window.sync()
            time.sleep(0.005)
