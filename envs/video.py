"""Films: a graphics library that works on this machine, and frames into an H.264 file.

MuJoCo reads MUJOCO_GL once, when it is first imported, and a broken driver may take the process down with it. So
:func:`choose_gl` tries each library in a process of its own, and repairs the choice even after that import.
"""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

_TRY = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    renderer.render()
"""


class NoGraphicsError(RuntimeError):
    """No way to draw was found. The message says what to install."""


def choose_gl() -> str:
    """Set MUJOCO_GL to a library that draws here, and return it.

    A setting of the user's comes first; then EGL (GPUs, and CPUs through Mesa), then OSMesa (CPUs).
    Raises NoGraphicsError.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    candidates = [name for name in dict.fromkeys((wanted, *_libraries())) if name]
    for name in candidates:
        if _draws(name):
            os.environ["MUJOCO_GL"] = name
            _mend_imported(name)
            return name
    raise NoGraphicsError(
        f"no picture can be drawn on this machine (tried {', '.join(candidates)}). On Debian or Ubuntu: "
        "apt-get install libegl1 libgl1 (EGL), or libosmesa6 (OSMesa); `embodied doctor` tells more"
    )


def _libraries() -> tuple[str, ...]:
    return ("egl", "osmesa") if sys.platform == "linux" else ("glfw",)


@functools.cache
def _draws(name: str) -> bool:
    """Whether a fresh process can draw a frame with this library."""
    env = {**os.environ, "MUJOCO_GL": name}
    env.pop("PYOPENGL_PLATFORM", None)  # set by an import of another library; a child would inherit it
    try:
        done = subprocess.run([sys.executable, "-c", _TRY], env=env, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _mend_imported(name: str) -> None:
    """Where MuJoCo was imported under another setting, point its renderer to this library."""
    if "mujoco" not in sys.modules or sys.platform != "linux":
        return
    module = "mujoco.rendering.classic.gl_context"
    wanted = importlib.import_module(f"mujoco.{name}" if name in ("egl", "osmesa") else "mujoco.glfw").GLContext
    if module in sys.modules and getattr(sys.modules[module], "GLContext", None) is not wanted:
        sys.modules[module].GLContext = wanted  # type: ignore[attr-defined]


class VideoWriter:
    """RGB frames into an MP4 that every browser plays (H.264, yuv420p, index first).

    Written under a temporary name; the file appears when :meth:`close` is called. Use it as a context manager: an
    exception inside leaves no file.

    fps: frames a second. quality: 0 (lossless) to 51; 18 is hard to tell from the original, 28 is small.
    """

    def __init__(self, path: str | Path, width: int, height: int, fps: float, quality: int = 23) -> None:
        import av

        if width % 2 or height % 2:
            raise ValueError(f"H.264 needs an even width and height, got {width} x {height}")
        self.path, self.frames, self.fps = Path(path), 0, Fraction(fps).limit_denominator(1001)
        self._shape = (height, width, 3)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.name}.part")
        self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=self.fps)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.options = {"crf": str(quality), "preset": "veryfast"}

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self.frames / float(self.fps)

    def add(self, frame: np.ndarray) -> None:
        """Append a frame (height, width, 3) uint8."""
        import av

        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"frame {frame.shape} {frame.dtype}; expected {self._shape} uint8")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self.frames == 0:
            self.abort()
            raise ValueError("a video needs at least one frame")
        self._container.mux(self._stream.encode())
        self._container.close()
        self._temporary.replace(self.path)

    def abort(self) -> None:
        """Give up; nothing stays on the disk."""
        self._container.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def read_video(path: str | Path) -> tuple[Sequence[np.ndarray], float]:
    """All frames (height, width, 3) uint8 of a video, and its frames a second."""
    import av

    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames, float(rate or 0)
