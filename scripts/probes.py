"""What `embodied doctor` tries. Nothing is believed from its name: libraries are loaded, frames drawn, films encoded.

What can take the process down with it (graphics drivers, compiled extras) is tried in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from embodied.gradients import missing_compiler
from embodied.provenance import machine

from .config import ROOT

CORE = ("torch", "mujoco", "gymnasium", "hydra", "safetensors", "numpy", "scipy", "rich", "tensorboard", "av", "cv2")
EXTRAS = {
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "serve": ("msgspec", "websockets"),
    "view": ("viser", "mjviser"),
    "gpu": ("warp", "mujoco_warp"),
    "baselines": ("stable_baselines3", "rsl_rl"),
    "plots": ("matplotlib",),
    "data": ("pyarrow", "h5py"),
    "maniskill": ("mani_skill",),
    "vla": ("transformers", "peft"),
    "generative": ("diffusers",),
    "distributed": ("ray",),
    "wandb": ("wandb",),
    "dev": ("pytest", "pytest_cov", "mypy"),
}
"""Extra of pyproject.toml -> the modules that it brings."""

Status = str
"""``ok``, ``missing`` (something will not be possible) or ``broken`` (it is there and does not work)."""


@dataclass(frozen=True)
class Check:
    """One finding. mend: the command that mends it; empty where there is nothing to mend."""

    name: str
    status: Status
    detail: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """As plain JSON types."""
        return asdict(self)


def attempt(code: str, timeout: float = 120.0, **variables: str) -> tuple[bool, str]:
    """Run Python code in a process of its own; whether it worked, and the last line that it printed."""
    env = {**os.environ, **variables}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {timeout:.0f} s"
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    return done.returncode == 0, lines[-1].strip() if lines else f"exit status {done.returncode}"


def install(extra: str) -> str:
    """The command that installs an extra into the environment that runs now."""
    if Path(sys.prefix).resolve() == (ROOT / ".venv").resolve():
        return f"cd {ROOT} && python3 scripts/bootstrap.py --extras {extra}"
    return f"cd {ROOT} && {sys.executable} -m pip install -c constraints.txt -e '.[{extra}]'"


# Core --------------------------------------------------------------------------------------------------------------


def core() -> list[Check]:
    """What everything needs."""
    return [python(), cpu(), memory(), packages(), torch_build(), physics(), h264()]


def python() -> Check:
    """The interpreter."""
    fine = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} ({sys.executable})"
    return Check("Python", "ok" if fine else "broken", found, "" if fine else "make clean env PYTHON=python3.11")


def cpu() -> Check:
    """CPUs that this process may use, which may be fewer than the machine has."""
    found, total = machine(), os.cpu_count() or 1
    of = f" of {total}" if found["cpus"] != total else ""
    return Check("CPU", "ok", f"{found['cpus']}{of} threads, {found['cpu']}")


def memory() -> Check:
    """Memory; training with 1024 worlds takes about 1.5 GB."""
    size = machine()["memory_gb"]
    if size is None:
        return Check("Memory", "ok", "the system does not tell")
    short = size < 3
    return Check("Memory", "missing" if short else "ok", f"{size:g} GiB", "train with num_worlds=256" if short else "")


def packages() -> Check:
    """The core's packages, imported in a fresh process."""
    fine, said = attempt("import " + ", ".join(CORE))
    if fine:
        return Check("Packages", "ok", ", ".join(CORE))
    return Check("Packages", "broken", said, f"cd {ROOT} && rm -f .venv/embodied-stamp.json && make env")


def torch_build() -> Check:
    """Whether torch's build fits the machine."""
    code = "import torch; print(torch.__version__, 'for CUDA' if torch.version.cuda else 'for the CPU')"
    fine, said = attempt(code)
    if not fine:
        return Check("torch", "broken", said, f"cd {ROOT} && rm -f .venv/embodied-stamp.json && make env")
    return Check("torch", "ok", said)


def physics() -> Check:
    """Step two batched simulations."""
    code = """
import mujoco, numpy as np
from mujoco.batch import Batch
ball = "<body><freejoint/><geom size='.1'/></body>"
model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{ball}</worldbody></mujoco>")
batch = Batch(model, 2, 2)
height = batch.bind("qpos")
before = height[:, 2].copy()
batch.step(nstep=10)
assert (height[:, 2] < before).all()
print(mujoco.__version__)
"""
    fine, said = attempt(code)
    if fine:
        return Check("MuJoCo", "ok", f"{said}, batched simulation steps")
    return Check("MuJoCo", "broken", said, f"{sys.executable} -m pip install 'mujoco>=4'")


FILM = """
import io, av, numpy as np
buffer = io.BytesIO()
with av.open(buffer, "w", format="mp4") as film:
    stream = film.add_stream("libx264", rate=25)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for i in range(5):
        film.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * i, np.uint8), format="rgb24")))
    film.mux(stream.encode())
buffer.seek(0)
with av.open(buffer) as film:
    frames = len(list(film.decode(video=0)))
assert frames == 5, f"{frames} of 5 frames came back"
print(av.__version__)
"""


def h264() -> Check:
    """Encode a film of a few frames and read it back."""
    fine, said = attempt(FILM)
    if fine:
        return Check("Video", "ok", f"H.264 with PyAV {said}")
    return Check("Video", "broken", f"H.264 cannot be encoded: {said}", f"{sys.executable} -m pip install av")


# Graphics ----------------------------------------------------------------------------------------------------------

DRAW = """
import mujoco
from OpenGL import GL
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='.2'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render().std() > 1, "the picture is empty"
    name = GL.glGetString(GL.GL_RENDERER)
print((name or b"?").decode())
"""
VULKAN = """
import ctypes
vk = ctypes.CDLL("libvulkan.so.1")
class Info(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("next", ctypes.c_void_p), ("flags", ctypes.c_int), ("app", ctypes.c_void_p),
                ("layers", ctypes.c_uint), ("layer_names", ctypes.c_void_p),
                ("extensions", ctypes.c_uint), ("extension_names", ctypes.c_void_p)]
instance = ctypes.c_void_p()
assert vk.vkCreateInstance(ctypes.byref(Info(1)), None, ctypes.byref(instance)) == 0, "no driver gives an instance"
count = ctypes.c_uint()
assert vk.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None) == 0 and count.value, "no device"
print(count.value, "device" + "s" * (count.value > 1))
"""


def graphics() -> list[Check]:
    """Off-screen pictures for videos and reports, windows, Vulkan."""
    egl, osmesa = draws("egl"), draws("osmesa")
    if egl.status == "ok":  # one way is enough
        osmesa = Check(osmesa.name, osmesa.status, osmesa.detail)
    return [egl, osmesa, window(), vulkan()]


def draws(backend: str) -> Check:
    """Draw a frame with MuJoCo through EGL or OSMesa."""
    label = {"egl": "EGL", "osmesa": "OSMesa"}[backend]
    packages = {"egl": "libegl1 libgl1", "osmesa": "libosmesa6"}[backend]
    fine, said = attempt(DRAW, MUJOCO_GL=backend)
    if fine:
        return Check(label, "ok", f"a frame was drawn by {said}")
    sudo = "" if os.geteuid() == 0 else "sudo "
    mend = f"{sudo}apt-get update && {sudo}apt-get install -y {packages}"
    return Check(label, "missing", f"no frame can be drawn ({said})", mend if sys.platform == "linux" else "")


def window() -> Check:
    """Whether a viewer's window has a screen."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen or sys.platform != "linux":
        return Check("Window", "ok", f"display {screen or 'of the system'}")
    return Check("Window", "missing", "no display here; embodied play viewer=web shows it in a browser")


def vulkan() -> Check:
    """A Vulkan device, which ManiSkill's renderer needs."""
    fine, said = attempt(VULKAN, timeout=30)
    return Check("Vulkan", "ok" if fine else "missing", said if fine else "none; only ManiSkill's pictures need it")


# Accelerators and extras -------------------------------------------------------------------------------------------


COMPILE = """
import torch
x = torch.arange(9.0)
try:
    assert torch.equal(torch.compile(lambda x: (x + 1) * 2)(x), (x + 1) * 2)
except Exception as error:
    raise SystemExit(str(error).splitlines()[0])
"""


def accelerators() -> list[Check]:
    """CUDA, and what torch.compile needs."""
    return [*cuda(), compiler()]


def compiler() -> Check:
    """Compile a function of two operations."""
    missing = missing_compiler(torch.device("cpu"))
    fine, said = (False, missing) if missing else attempt(COMPILE)
    if fine:
        return Check("Compiler", "ok", "torch.compile works, so that small networks may learn with algo.compile=true")
    sudo = "" if os.geteuid() == 0 else "sudo "
    mend = f"{sudo}apt-get update && {sudo}apt-get install -y g++ python3-dev" if sys.platform == "linux" else ""
    return Check("Compiler", "missing", f"{said}; only algo.compile=true needs it", mend)


def cuda() -> list[Check]:
    """CUDA: the device, torch's view of it, and the GPU physics."""
    listed = _nvidia()
    if not listed:
        return [Check("CUDA", "missing", "no NVIDIA device; everything runs on the CPU")]
    fine, said = attempt("import torch; assert torch.cuda.is_available(); torch.ones(3, device='cuda').sum().item()")
    if not fine:
        return [
            Check("CUDA", "broken", f"{listed}, but torch cannot use it ({said})", f"cd {ROOT} && make env TORCH=cuda")
        ]
    if importlib.util.find_spec("mujoco_warp") is None:
        return [Check("CUDA", "ok", listed), Check("GPU physics", "missing", "mujoco-warp is needed", install("gpu"))]
    return [Check("CUDA", "ok", listed)]


def _nvidia() -> str:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(line.split(" (")[0] for line in done.stdout.splitlines()) if done.returncode == 0 else ""


def extras() -> list[Check]:
    """Every extra, by importing it."""
    return [extra(name, modules) for name, modules in EXTRAS.items()]


def extra(name: str, modules: tuple[str, ...]) -> Check:
    """One extra: there, not there, or there and broken."""
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    if absent:
        return Check(name, "missing", f"{', '.join(absent)} not installed", install(name))
    fine, said = attempt("import " + ", ".join(modules))
    return Check(name, "ok", ", ".join(modules)) if fine else Check(name, "broken", said, install(name))


SECTIONS: dict[str, Callable[[], list[Check]]] = {
    "core": core,
    "graphics": graphics,
    "accelerators": accelerators,
    "extras": extras,
}
