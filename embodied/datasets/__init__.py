"""Demonstrations: in memory, in the formats that others use, and as windows to learn from."""

from .episodes import DatasetError, DatasetInfo, Episode, Episodes, GroupInfo
from .formats import FORMATS, create_dataset, load_episodes, open_dataset
from .windows import Window, Windows, split

__all__ = [
    "FORMATS",
    "DatasetError",
    "DatasetInfo",
    "Episode",
    "Episodes",
    "GroupInfo",
    "Window",
    "Windows",
    "create_dataset",
    "load_episodes",
    "open_dataset",
    "split",
]
