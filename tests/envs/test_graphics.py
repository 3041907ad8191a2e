from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envs import graphics
from envs.graphics import NoGraphicsError, choose_gl


def test_the_first_library_that_draws_is_taken(monkeypatch: pytest.MonkeyPatch):
    tried: list[str] = []

    def draws(name: str) -> bool:
        tried.append(name)
        return name == "osmesa"

    monkeypatch.setattr(graphics, "_draws", draws)
    monkeypatch.setattr(graphics, "_mend_imported", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("MUJOCO_GL", "glfw")  # the user's own, which does not work here
    assert choose_gl() == "osmesa" == os.environ["MUJOCO_GL"]
    assert tried == ["glfw", "egl", "osmesa"]


def test_no_library_at_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphics, "_draws", lambda name: False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("MUJOCO_GL", "")
    with pytest.raises(NoGraphicsError, match=r"tried egl, osmesa.*apt-get install libegl1"):
        choose_gl()


@pytest.mark.render
def test_it_mends_an_earlier_import():
    """MuJoCo was imported first, under a setting that has no display to draw on; then a frame is drawn all the same."""
    try:
        choose_gl()
    except NoGraphicsError as error:
        pytest.skip(str(error))
    code = (
        "import mujoco; from envs.graphics import choose_gl; choose_gl()\n"
        "m = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size=\"1\"/></worldbody></mujoco>')\n"
        "r = mujoco.Renderer(m, 16, 16); r.update_scene(mujoco.MjData(m)); assert r.render().shape == (16, 16, 3)\n"
    )
    env = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "DISPLAY", "PYOPENGL_PLATFORM")}
    root = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-c", code], cwd=root, env=env, check=True)
