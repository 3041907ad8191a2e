"""Demonstrations: one ``Episode`` is what readers and writers exchange, ``Episodes`` is what is learnt from.

Legend: E episodes; T steps of one episode; F frames, the steps of all episodes one after the other; A action size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..types import TaskSpec
from .frames import FrameFile

Arrays = dict[str, np.ndarray]


class DatasetError(ValueError):
    """Data that is missing, damaged or does not fit; the message names the file and the episode."""


@dataclass(frozen=True)
class GroupInfo:
    """An observation group of a dataset: shape of one frame, dtype, names and units of its elements (may be empty)."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        """An RGB image (height, width, 3) of uint8."""
        return self.dtype == "uint8" and len(self.shape) == 3 and self.shape[-1] == 3


@dataclass(frozen=True)
class DatasetInfo:
    """What all episodes of a dataset have in common.

    task: the task's name.  control_dt: seconds between frames.  obs: group -> GroupInfo.
    action_names, action_unit: of the A elements, in the policy's units (``ActionSpec``).
    robot: its name, or None.  extra: JSON values about where the data come from.
    """

    task: str
    control_dt: float
    obs: dict[str, GroupInfo]
    action_names: tuple[str, ...]
    action_unit: str = "1"
    robot: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.control_dt > 0:
            raise DatasetError(f"control_dt={self.control_dt!r}: must be seconds above 0")
        if not self.action_names:
            raise DatasetError("action_names is empty: a dataset has at least one action element")

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.action_names)

    @classmethod
    def of(cls, spec: TaskSpec, **extra: Any) -> DatasetInfo:
        """What a task's episodes look like, recorded step by step."""
        obs = {}
        for name, group in spec.obs.items():
            names = tuple(element for term in group.terms for element in _elements(term.name, term.size, term.names))
            units = tuple(term.unit for term in group.terms for _ in range(term.size))
            obs[name] = GroupInfo(group.shape, group.dtype, names, units)
        robot = None if spec.robot is None else spec.robot.name
        # In policy units, whatever the command's unit: command = offset + scale * action.
        return cls(spec.name, spec.control_dt, obs, spec.action.names, "1", robot, {"spec": spec.to_dict(), **extra})


def _elements(term: str, size: int, names: Sequence[str]) -> list[str]:
    """``joint_pos.hip`` for named elements, ``term`` or ``term.0`` for others."""
    if len(names) == size:
        return [f"{term}.{name}" for name in names]
    return [term] if size == 1 else [f"{term}.{i}" for i in range(size)]


@dataclass
class Episode:
    """One whole episode; frame t holds the observation that action t was computed from.

    obs: group -> (T, ...).  action: (T, A), as executed, in policy units.  reward: (T,).
    terminated: it ended for good; False: it was cut short.  success: None where nobody knows.
    final_obs: group -> (...), what was seen after the last action; None where it was not kept.
    """

    obs: Arrays
    action: np.ndarray
    reward: np.ndarray
    terminated: bool = False
    success: bool | None = None
    instruction: str = ""
    final_obs: Arrays | None = None

    def __len__(self) -> int:
        return len(self.action)


def check(episode: Episode, info: DatasetInfo, where: str) -> Episode:
    """The episode, if it is what ``info`` says. where: file and episode, for messages.

    Raises:
        DatasetError: no steps, wrong shapes, groups missing, numbers that are not finite.
    """
    steps = len(episode)
    if steps == 0:
        raise DatasetError(f"{where}: has no steps")
    _check_array(episode.action, (steps, info.action_size), f"{where}: action")
    _check_array(episode.reward, (steps,), f"{where}: reward")
    for name, group in info.obs.items():
        if name not in episode.obs:
            raise DatasetError(
                f"{where}: observation group {name!r} is missing; there: {', '.join(episode.obs) or 'none'}"
            )
        _check_array(episode.obs[name], (steps, *group.shape), f"{where}: obs {name!r}")
        if episode.final_obs is not None:
            _check_array(episode.final_obs[name], group.shape, f"{where}: final obs {name!r}")
    return episode


def _check_array(x: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    if x.shape != shape:
        raise DatasetError(f"{what} has shape {x.shape}, expected {shape}")
    if not np.issubdtype(x.dtype, np.floating):
        return
    bad = ~np.isfinite(x).reshape(len(x) if x.ndim else 1, -1).all(1)
    if bad.any():
        raise DatasetError(f"{what} is not finite at step {int(bad.argmax())} ({int(bad.sum())} such steps)")


def _filed(episode: Episode, files: Mapping[str, FrameFile]) -> Episode:
    """The episode without the groups that go into files, and without what was seen at its end."""
    for name, file in files.items():
        file.add(episode.obs[name])
    return replace(episode, obs={k: x for k, x in episode.obs.items() if k not in files}, final_obs=None)


class Episodes:
    """Whole episodes as flat tensors, one frame after the other.

    obs: group -> (F, ...).  action: (F, A).  reward: (F,).  starts: (E + 1,) long; episode e is the frames
    ``starts[e]`` to ``starts[e + 1]``.  terminated: (E,) bool.  success: (E,) float, nan where nobody knows.
    instructions: E texts.

    folder: images are kept in a file there and read where they are indexed; None: all is in memory.
    """

    def __init__(self, info: DatasetInfo, episodes: Iterable[Episode], folder: Path | None = None) -> None:
        images = [] if folder is None else [name for name, group in info.obs.items() if group.is_image]
        files = {name: FrameFile(cast(Path, folder)) for name in images}
        checked = (check(episode, info, f"episode {i}") for i, episode in enumerate(episodes))
        found = [_filed(episode, files) for episode in checked]
        if not found:
            raise DatasetError(f"dataset of task {info.task!r} holds no episodes")
        self.info = info
        self.obs = {
            name: files[name].tensor(group.shape)
            if name in files
            else torch.from_numpy(np.concatenate([e.obs[name] for e in found]))
            for name, group in info.obs.items()
        }
        self.action = torch.from_numpy(np.concatenate([e.action for e in found])).float()
        self.reward = torch.from_numpy(np.concatenate([e.reward for e in found])).float()
        self.starts = torch.tensor([0, *(len(e) for e in found)]).cumsum(0)
        self.terminated = torch.tensor([e.terminated for e in found])
        self.success = torch.tensor([np.nan if e.success is None else float(e.success) for e in found])
        self.instructions = [e.instruction for e in found]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def num_frames(self) -> int:
        """F."""
        return len(self.action)

    @property
    def lengths(self) -> Tensor:
        """(E,) long: steps of each episode."""
        return self.starts.diff()

    @property
    def returns(self) -> Tensor:
        """(E,): undiscounted sum of rewards of each episode."""
        return torch.zeros(len(self)).index_add_(0, self.episode_of_frame(), self.reward)

    def episode_of_frame(self) -> Tensor:
        """(F,) long: the episode that each frame belongs to."""
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths)

    def frames_of(self, episodes: Tensor) -> Tensor:
        """All frames of these episodes (n,), as sorted indices."""
        chosen = torch.zeros(len(self), dtype=torch.bool)
        chosen[episodes] = True
        return chosen[self.episode_of_frame()].nonzero().squeeze(-1)
