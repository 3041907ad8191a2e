"""Objects and receptacles on a table, an instruction in words, a camera: ``put_on_plate`` and its rows."""

from __future__ import annotations

from .construct import make
from .env import TabletopEnv
from .rows import ROWS

__all__ = ["ROWS", "TabletopEnv", "make"]
