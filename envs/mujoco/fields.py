"""Names of MuJoCo's fields, and errors that help with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

STATE_FIELDS = (
    "time",
    "qpos",
    "qvel",
    "act",
    "history",
    "qacc_warmstart",
    "ctrl",
    "qfrc_applied",
    "xfrc_applied",
    "eq_active",
    "mocap_pos",
    "mocap_quat",
    "userdata",
    "plastic",
)
"""MjData fields that make up mjSTATE_INTEGRATION: everything that the next step depends on."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`` (did you mean ...?)``, or the names themselves when none is close."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=3)
    return f" (did you mean {', '.join(close)}?)" if close else f"; choose from {', '.join(names)}"
