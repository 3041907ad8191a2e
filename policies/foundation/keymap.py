"""Published tensors and ours: which is which, and how one is cut into others.

A map has an entry for every tensor that a published checkpoint may hold; None stands for one that is not used here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .shards import Shards


def _alone(x: Tensor) -> tuple[Tensor | None, ...]:
    return (x,)


def _first(parts: Sequence[Tensor]) -> Tensor:
    return parts[0]


@dataclass(frozen=True)
class Entry:
    """names: ours.  read: a published tensor -> one of ours for each name, None: it says nothing about that one.

    write: ours, one for each name -> the published tensor.
    """

    names: tuple[str, ...]
    read: Callable[[Tensor], tuple[Tensor | None, ...]] = _alone
    write: Callable[[Sequence[Tensor]], Tensor] = _first


KeyMap = Mapping[str, Entry | None]


def same(name: str) -> Entry:
    """The published tensor is ours under another name."""
    return Entry((name,))


def stacked(*names: str) -> Entry:
    """The published tensor is ours, one after the other along the first dimension."""
    return Entry(names, lambda x: x.chunk(len(names)), lambda parts: torch.cat(list(parts)))


def renamed(published: str, ours: str, names: Sequence[str]) -> dict[str, Entry]:
    """Entries of tensors whose prefixes alone differ."""
    return {published + name: same(ours + name) for name in names}


@torch.no_grad()
def load(module: nn.Module, shards: Shards, keys: KeyMap) -> None:
    """Fill the module's parameters from a published checkpoint.

    Raises:
        ValueError: tensors missing, unknown, or of another shape; the message names them.
    """
    ours = dict(module.named_parameters())
    faults = [f"{name} is missing" for name, entry in keys.items() if entry and name not in shards.files]
    faults += [f"{name} is not known" for name in shards.files if name not in keys]
    for name, tensor in shards.tensors():
        entry = keys.get(name)
        if entry is not None:
            faults += _fill(ours, name, entry, tensor)
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise ValueError(f"{shards.folder} does not fit: {'; '.join(faults[:3])}{more}")


def _fill(ours: Mapping[str, Tensor], name: str, entry: Entry, tensor: Tensor) -> list[str]:
    """Copy one published tensor; what is wrong with it, if anything is."""
    for target, part in zip(entry.names, entry.read(tensor), strict=False):
        if part is None:
            continue
        if part.shape != ours[target].shape:
            wanted = entry.write([ours[each] for each in entry.names]).shape
            return [f"{name} is {tuple(tensor.shape)}, not {tuple(wanted)}"]
        ours[target].copy_(part)
    return []


@torch.no_grad()
def export(weight: Callable[[str], Tensor], source: Shards, keys: KeyMap, target: str | Path) -> None:
    """Write a published checkpoint with our weights in place of its own; what is not used here stays as it was.

    weight: our tensor of a name.
    """

    def change(name: str, tensor: Tensor) -> Tensor:
        entry = keys.get(name)
        if entry is None:
            return tensor
        return entry.write([weight(each) for each in entry.names]).to("cpu", tensor.dtype)

    source.rewrite(target, change)
