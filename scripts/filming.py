"""A film of a policy: a camera that follows, commands that show what it can do, and both velocities on the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from embodied.video import VideoWriter

from .player import Player, in_words, tour

if TYPE_CHECKING:
    import mujoco

OVERSIZE = 1.5
INK, FAINT, ASKED, FOUND = (240, 244, 248), (150, 162, 176), (255, 176, 64), (96, 200, 255)
PAN_S = (0.25, 0.25, 1.3)
"""Time constants of the camera's panning, x, y, z."""
Script = Sequence[tuple[float, str, list[float] | None]]


class FollowCamera:
    """A still-handed camera: it pans with the robot but does not copy its bobbing; worlds without a floating base are
    seen through the model's own camera ``track``, or a free one.

    period: seconds between frames.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, width: int, height: int, period: float = 0.04
    ) -> None:
        import mujoco

        self._size = width, height
        self._pan = 1.0 - np.exp(-period / np.array(PAN_S))
        self._open(model)
        self._floating = bool(model.njnt) and int(model.jnt_type[0]) == mujoco.mjtJoint.mjJNT_FREE.value
        self._named = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "track") >= 0
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, self._camera)
        if self._floating:
            tall = float(model.qpos0[2])  # not where it starts, which terrain lifts or lowers
            self._camera.distance = float(np.clip(5.4 * tall, 1.0, 8.0))
            self._camera.azimuth, self._camera.elevation = 118.0, -14.0
            self._camera.lookat[:] = data.qpos[:3] - [0, 0, 0.15 * tall]

    def _open(self, model: mujoco.MjModel) -> None:
        import mujoco

        visual, large = model.vis, [round(OVERSIZE * length) for length in self._size]
        visual.global_.offwidth, visual.global_.offheight = large
        # Where a CPU draws, drawing large and shrinking costs two thirds of smoothing edges by multisampling.
        visual.quality.offsamples, visual.quality.shadowsize = 0, min(int(visual.quality.shadowsize), 2048)
        self._model, self._renderer = model, mujoco.Renderer(model, large[1], large[0])

    def shoot(self, model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
        """A frame (height, width, 3) uint8; the model is the same but for its terrain."""
        if model.nhfield and model is not self._model:
            self.close()
            self._open(model)
        if self._floating:
            gap = data.qpos[:3] - self._camera.lookat
            jumped = float(np.hypot(*gap[:2])) > 1.5  # a new episode began elsewhere
            self._camera.lookat[:] += gap * (1.0 if jumped else self._pan)
        self._renderer.update_scene(data, "track" if self._named and not self._floating else self._camera)
        return _resized(self._renderer.render(), self._size)

    def close(self) -> None:
        """Free the graphics context."""
        self._renderer.close()


def film(
    player: Player,
    path: Path,
    *,
    seconds: float | None,
    fps: float = 25.0,
    size: tuple[int, int] = (854, 480),
    script: Script | None = None,
    on_progress: Callable[[float, float], None] | None = None,
) -> dict[str, Any]:
    """Film ``player`` in real time.

    Args:
        seconds: length; None: of the script, or 15 s without one.
        size: width and height in pixels, even numbers.
        script: (seconds, caption, command) each; None: a tour of the task's commands, if it takes any.
        on_progress: called with (seconds done, seconds).

    Returns:
        ``video``, ``seconds``, ``frames``, ``episodes_ended``, ``falls``.
    """
    if script is None:
        script = list(tour(player.spec.command)) if player.commandable else []
    total = seconds if seconds is not None else sum(part[0] for part in script) or 15.0
    control_dt = player.spec.control_dt / player.spec.action.chunk
    stride = max(1, round(1.0 / (fps * control_dt)))
    camera: Any = _camera(player, size, stride * control_dt)
    with VideoWriter(path, *size, fps=1.0 / (stride * control_dt)) as writer:

        def shoot() -> None:
            """Take a frame, if it is time for one."""
            if player.control_steps % stride == 0 and player.time < total - 1e-9:
                frame = camera.shoot(*player.scene()) if camera else _resized(player.env.render(0), size)
                writer.add(overlay(frame, player, caption))
                if on_progress is not None:
                    on_progress(player.time, total)

        while player.time < total - 1e-9:
            caption = _follow(player, script, total)
            shoot()
            player.step(shoot)
    if camera:
        camera.close()
    figures = {"seconds": round(writer.seconds, 3), "frames": writer.frames}
    return {"video": str(path), **figures, "episodes_ended": player.ended, "falls": player.fallen}


def _camera(player: Player, size: tuple[int, int], period: float) -> FollowCamera | None:
    if not hasattr(player.env, "get_model_data"):
        return None
    return FollowCamera(*player.scene(), *size, period)


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _follow(player: Player, script: Script, total: float) -> str:
    """Give the command that the script has for now, stretched to the film's length; its caption."""
    if not script:
        return ""
    scale, clock = total / sum(part[0] for part in script), player.time + 1e-9
    ends = np.cumsum([part[0] for part in script]) * scale
    _, caption, values = script[min(int(np.searchsorted(ends, clock, side="right")), len(script) - 1)]
    if values is not None:
        player.ask(values)
    return caption


# What is written on the picture -----------------------------------------------------------------------------------


def overlay(frame: np.ndarray, player: Player, caption: str) -> np.ndarray:
    """The frame with a panel: what is asked and what is measured; for other tasks words, time and reward."""
    frame = np.ascontiguousarray(frame)
    scale = frame.shape[0] / 480
    rows = _command_rows(player)
    height = int((30 + 26 * max(1, len(rows))) * scale)
    width = int((330 if rows else max(200, 72 + 8 * len(player.instruction))) * scale)
    panel = frame[:height, :width]
    frame[:height, :width] = (panel * 0.35 + np.array([14, 20, 28]) * 0.65).astype(np.uint8)
    _text(frame, caption or player.instruction or player.spec.name, 12, 21, INK, 15, scale, bold=True)
    if rows:
        _text(frame, "asked", 196, 21, ASKED, 12, scale)
        _text(frame, "is", 248, 21, FOUND, 12, scale)
    _text(frame, f"{player.time:.1f} s", width / scale - 46, 21, FAINT, 12, scale)
    for i, row in enumerate(rows):
        _command_row(frame, 48 + 26 * i, scale, *row)
    if not rows:
        _text(frame, f"reward {player.reward:.1f}", 12, 46, FAINT, 13, scale)
    return frame


def _command_rows(player: Player) -> list[tuple[str, str, float, float | None, float]]:
    """(name, unit, asked, measured, full scale) of each command."""
    measured = player.measured
    return [
        (*in_words(name), value, measured.get(name), max(map(abs, player.spec.command[name])) or 1.0)
        for name, value in player.command.items()
    ]


def _command_row(
    frame: np.ndarray, y: int, scale: float, name: str, unit: str, asked: float, found: float | None, full: float
) -> None:
    """Name, a bar of the measured value with a mark at the commanded one, and both numbers."""
    _text(frame, name, 12, y, FAINT, 13, scale)
    middle, half = 132, 52
    _line(frame, middle - half, y - 4, middle + half, y - 4, (70, 80, 92), 3, scale)
    if found is not None:
        _line(frame, middle, y - 4, middle + half * float(np.clip(found / full, -1.1, 1.1)), y - 4, FOUND, 5, scale)
    x = middle + half * asked / full
    _line(frame, x, y - 12, x, y + 4, ASKED, 3, scale)
    _text(frame, f"{asked:+.2f}", 196, y, ASKED, 13, scale)
    _text(frame, "" if found is None else f"{found:+.2f}", 242, y, FOUND, 13, scale)
    _text(frame, unit, 290, y, FAINT, 12, scale)


def _line(
    frame: np.ndarray, x0: float, y0: float, x1: float, y1: float, color: tuple, width: int, scale: float
) -> None:
    ends = [(round(x * scale), round(y * scale)) for x, y in ((x0, y0), (x1, y1))]
    cv2.line(frame, ends[0], ends[1], color, max(1, round(width * scale)), cv2.LINE_AA)


def _text(
    frame: np.ndarray, text: str, x: float, y: float, color: tuple, size: int, scale: float, bold: bool = False
) -> None:
    at = (round(x * scale), round(y * scale))
    if hasattr(cv2, "FontFace"):  # OpenCV 5 brings a readable font
        cv2.putText(frame, text, at, color, cv2.FontFace("sans"), round(size * scale), 600 if bold else 400)
    else:
        cv2.putText(frame, text, at, cv2.FONT_HERSHEY_SIMPLEX, size / 30 * scale, color, 1 + bold, cv2.LINE_AA)
