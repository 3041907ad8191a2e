"""Configuration into dataclasses, with errors that help. Like ``embodied.types``, every package may import this."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

C = TypeVar("C")


def from_mapping(cls: type[C], data: Mapping[str, Any], where: str) -> C:
    """Build a dataclass from a mapping; lists become tuples.

    Args:
        where: the configuration group, for messages, e.g. ``algo``.

    Raises:
        ValueError: a key that the dataclass does not know.
    """
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ValueError(f"unknown key {where}.{key}; {nearest(key, known)}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'? valid: a, b, x``."""
    known = sorted(known)
    near = difflib.get_close_matches(str(word), known, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"valid: {', '.join(known)}"


def choice(where: str, value: str, valid: Iterable[str]) -> None:
    """Raise ValueError unless value is one of the valid ones."""
    valid = list(valid)
    if value not in valid:
        raise ValueError(f"{where}={value!r}: {nearest(value, valid)}")


def positive(where: str, value: float) -> None:
    """Raise ValueError unless value is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{where}={value!r}: must be a number above 0")


def whole(where: str, value: float, low: int = 1) -> None:
    """Raise ValueError unless value is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value or value < low:
        raise ValueError(f"{where}={value!r}: must be a whole number of at least {low}")


def within(where: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{where}={value!r}: must lie in [{low:g}, {high:g}]")
