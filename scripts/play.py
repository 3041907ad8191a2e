"""Watch a trained policy.

embodied play checkpoint=go2_velocity
embodied play checkpoint=RUN video=out.mp4
embodied play checkpoint=RUN video=out.mp4 command=[0.5,0,0] seconds=10 task.push.speed=[0,1]
embodied play checkpoint=RUN viewer=native
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING, DictConfig

from envs.graphics import NoGraphicsError, choose_gl

from .agents import load_agent, read_config
from .common import make_env
from .config import UserError, compose, parse, plain, typed
from .player import Player
from .starting import keep_decisions

EPISODE_S = 3600.0
"""Nobody wants to see a walk cut off; a fall still ends it."""
VIEWERS = ("auto", "web", "native", "none")


@dataclass(frozen=True)
class PlayConfig:
    """The settings of play.

    checkpoint: what to watch: a run folder, a checkpoint folder, a file in one, or the name of a shipped checkpoint.
    task: where: the checkpoint's own, another choice of configs/task, each of its keys open to change. Chunks, history
        and image size stay those that the policy was trained with.
    viewer: auto (none with a video, else web), web (in the browser), native (MuJoCo's window) or none.
    video: an MP4 file to write; null: none.
    command: values to hold, e.g. [0.5,0,0]; null: sliders and keys in a viewer, a tour of all commands in a video.
    seconds: how long a video is, or a run without a viewer; null: as long as the tour takes, or 15 s.
    fps: frames a second of the video, in real time.
    width, height: of the video in pixels, even numbers.
    port: of viewer=web, on 127.0.0.1.
    seed: of the world.
    """

    checkpoint: str = MISSING
    task: Any = MISSING
    viewer: str = "auto"
    video: str | None = None
    command: Any = None
    seconds: float | None = None
    fps: float = 25.0
    width: int = 854
    height: int = 480
    port: int = 8080
    seed: int = 0

    def __post_init__(self) -> None:
        if self.viewer not in VIEWERS:
            raise ValueError(f"viewer={self.viewer}: choose one of {', '.join(VIEWERS)}")
        if self.fps <= 0 or (self.seconds is not None and self.seconds <= 0):
            raise ValueError("fps and seconds must be above 0")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"width={self.width}, height={self.height}: a video needs even numbers")


SCHEMA = PlayConfig


def main(argv: Sequence[str]) -> int:
    """Run the command; the last line of stdout is a JSON object with what happened."""
    config, task = configure(argv)
    if config.video:
        need_graphics()
    agent = load_agent(config.checkpoint)
    env = make_env(task, num_worlds=1, device=torch.device("cpu"), seed=config.seed, num_threads=1)
    try:
        print(json.dumps(play(Player(env, agent, config.seed), config)))
    finally:
        env.close()
    return 0


def configure(argv: Sequence[str]) -> tuple[PlayConfig, dict[str, Any]]:
    """The settings, and the task to play in: the checkpoint's own unless another was named."""
    checkpoint = next((str(o.value()) for o in parse(argv) if o.key_or_group == "checkpoint"), None)
    own = read_config(checkpoint)["task"] if checkpoint else {}
    config = compose(PlayConfig, "play", argv, {"task/checkpoint": own})
    keep_decisions(config, own, argv)
    settings: PlayConfig = typed(PlayConfig, config)
    return settings, _for_show(config, argv)


def _for_show(config: DictConfig, argv: Sequence[str]) -> dict[str, Any]:
    """The task, with a robot that starts along x, where the camera sees its side, and an episode that goes on."""
    task = plain(config)["task"]
    asked = {override.key_or_group for override in parse(argv)}
    if "yaw" in (task.get("initial") or {}) and not any(key.startswith("task.initial") for key in asked):
        task["initial"]["yaw"] = 0.0
    if task.get("kind") == "velocity" and "task.episode_length_s" not in asked:
        task["episode_length_s"] = max(float(task["episode_length_s"]), EPISODE_S)
    return task


def need_graphics() -> None:
    """Choose a graphics library that works; a user's error where there is none."""
    try:
        choose_gl()
    except NoGraphicsError as error:
        raise UserError(f"no video: {error}") from error


def play(player: Player, config: PlayConfig) -> dict[str, Any]:
    """Film, show or only run the player; the figures of what happened."""
    result: dict[str, Any] = {"task": player.spec.name, "checkpoint": config.checkpoint}
    command = _command(player, config)
    if config.video:
        result |= make_film(player, config, command)
        say(f"wrote {config.video} ({result['seconds']:g} s)")
    viewer = config.viewer if config.viewer != "auto" else ("none" if config.video else "web")
    if viewer != "none":
        result |= _show(player, viewer, config, command)
    elif not config.video:
        result |= _run(player, config.seconds or 15.0)
    return result


def make_film(player: Player, config: PlayConfig, command: list[float] | None) -> dict[str, Any]:
    """Write ``config.video``."""
    from .filming import film

    seconds = config.seconds
    script: Any = None
    if command is not None:
        seconds = seconds or 15.0
        script = [(seconds, "fixed command", command)]
    size = (config.width, config.height)
    return film(player, Path(str(config.video)), seconds=seconds, fps=config.fps, size=size, script=script)


def _command(player: Player, config: PlayConfig) -> list[float] | None:
    """The command to hold, checked and given."""
    if config.command is None:
        return None
    try:
        values = [float(value) for value in config.command]
    except (TypeError, ValueError):
        raise UserError(f"command={config.command}: write numbers in brackets, e.g. command=[0.5,0,0]") from None
    player.ask(values)
    return values


def _show(player: Player, viewer: str, config: PlayConfig, command: list[float] | None) -> dict[str, Any]:
    from .viewers import watch_in_browser, watch_in_window

    player.reset(config.seed)
    try:
        if viewer == "web":
            watch_in_browser(player, config.port, command)
        else:
            watch_in_window(player, command)
    except KeyboardInterrupt:
        say("")
    return {"viewer": viewer, "falls": player.fallen}


def _run(player: Player, seconds: float) -> dict[str, Any]:
    """Only run: reward, ends and the mean tracking errors."""
    errors: dict[str, list[float]] = {name: [] for name in player.command}
    while player.time < seconds - 1e-9:
        player.step()
        for name, value in player.measured.items():
            errors[name].append(abs(value - player.command[name]))
    means = {f"error_{name}": sum(e) / len(e) for name, e in errors.items() if e}
    figures = {"seconds": round(player.time, 3), "reward": player.reward, "episodes_ended": player.ended}
    return {**figures, "falls": player.fallen, **means}


def say(message: str) -> None:
    """Tell the user, beside the result on stdout."""
    print(message, file=sys.stderr, flush=True)
