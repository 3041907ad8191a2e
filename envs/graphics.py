"""A graphics library that works on this machine.

MuJoCo reads MUJOCO_GL once, when it is first imported, and a broken driver may take the process down with it. So
:func:`choose_gl` tries each library in a process of its own, and repairs the choice even after that import.
"""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys

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
