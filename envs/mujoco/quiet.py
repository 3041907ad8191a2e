"""Keep MuJoCo's own log quiet while this package counts and reports what went wrong.

A world that diverges makes MuJoCo print a warning and append it to ``MUJOCO_LOG.TXT`` in the user's working folder.
In training that is routine: the world is flagged by ``Physics.failed()``, counted and reset.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import mujoco

_lock = threading.Lock()
_depth = 0
_console = _file = True


def _configure(console: bool, file: bool) -> tuple[bool, bool]:
    """Set where MuJoCo logs to; returns what was set before."""
    config = mujoco.MjLogConfig.get()
    before = bool(config.logto_console), bool(config.logto_file)
    config.logto_console, config.logto_file = console, file
    config.set()
    return before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within this context MuJoCo's warnings reach neither the console nor the log file.

    The setting is the process's; contexts may nest and overlap over threads, the last one to leave restores it.
    """
    global _depth, _console, _file
    with _lock:
        if _depth == 0:
            _console, _file = _configure(False, False)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _configure(_console, _file)
