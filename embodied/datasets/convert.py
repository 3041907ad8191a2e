"""From one format to another, episode by episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .episodes import Arrays, DatasetError, DatasetInfo, Episode, GroupInfo
from .files import Reader
from .formats import create_dataset


def convert(
    reader: Reader,
    target: str | Path,
    format_name: str = "lerobot",
    state: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> DatasetInfo:
    """Write all episodes of a dataset in another format.

    Args:
        state: names of vector groups that become the one group ``policy``, in this order.
        on_progress: called with (episodes done, episodes).

    Returns:
        What the new dataset's episodes have in common.

    Raises:
        DatasetError: damage on the way, or what the new format has no place for; nothing is left behind then.
    """
    info = joined_info(reader.info, state)
    with create_dataset(target, info, format_name) as writer:
        for number, episode in enumerate(reader, 1):
            writer.add(joined(episode, state))
            if on_progress is not None:
                on_progress(number, len(reader))
    return info


def joined_info(info: DatasetInfo, state: Sequence[str]) -> DatasetInfo:
    """With these groups as one, called ``policy``; its elements keep their names, or get those of their groups."""
    if not state:
        return info
    parts = []
    for name in state:
        if name not in info.obs:
            raise DatasetError(f"state: there is no observation group {name!r}; there: {', '.join(info.obs)}")
        if len(info.obs[name].shape) > 1:
            raise DatasetError(f"state: group {name!r} is no vector but of shape {info.obs[name].shape}")
        parts.append((name, info.obs[name]))
    names = tuple(element for name, group in parts for element in _names(name, group))
    units = tuple(unit for _, group in parts for unit in (group.units or ("1",) * _size(group)))
    whole = GroupInfo((len(names),), "float32", names, units)
    others = {name: group for name, group in info.obs.items() if name not in state}
    return dataclasses.replace(info, obs={"policy": whole, **others})


def joined(episode: Episode, state: Sequence[str]) -> Episode:
    """The episode with these groups as one, called ``policy``."""
    if not state:
        return episode
    final = None if episode.final_obs is None else _joined(episode.final_obs, state, ())
    return dataclasses.replace(episode, obs=_joined(episode.obs, state, (len(episode),)), final_obs=final)


def _joined(obs: Arrays, state: Sequence[str], lead: tuple[int, ...]) -> Arrays:
    whole = np.concatenate([obs[name].reshape(*lead, -1).astype(np.float32) for name in state], -1)
    return {"policy": whole, **{name: x for name, x in obs.items() if name not in state}}


def _size(group: GroupInfo) -> int:
    return int(np.prod(group.shape))


def _names(name: str, group: GroupInfo) -> tuple[str, ...]:
    size = _size(group)
    return group.names or ((name,) if size == 1 else tuple(f"{name}.{i}" for i in range(size)))
