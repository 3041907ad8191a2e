"""MuJoCo's log is silent within the context, and as before after it."""

import threading

import mujoco
import numpy as np
import pytest

from envs.mujoco.quiet import quiet

from .models import balls


def logging() -> tuple[bool, bool]:
    config = mujoco.MjLogConfig.get()
    return bool(config.logto_console), bool(config.logto_file)


def step_with_nan() -> None:
    model = balls()
    data = mujoco.MjData(model)
    data.qvel[0] = np.nan
    mujoco.mj_step(model, data)


def test_a_warning_leaves_no_trace_within(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with quiet():
        step_with_nan()
    assert capfd.readouterr() == ("", "") and list(tmp_path.iterdir()) == []
    step_with_nan()
    assert "Nan" in capfd.readouterr().err and (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_contexts_nest_and_errors_restore():
    before = logging()
    with pytest.raises(KeyError), quiet():
        with quiet():
            assert logging() == (False, False)
        assert logging() == (False, False)
        raise KeyError
    assert logging() == before


def test_contexts_of_two_threads_may_overlap():
    before = logging()
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    with quiet():
        thread.start()
        assert inside.wait(5)
    assert logging() == (False, False)  # the other thread is still inside
    leave.set()
    thread.join()
    assert logging() == before
