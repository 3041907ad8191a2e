"""Strict JSON: what is read is exactly what was meant, or an error that names the place where it is not."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


class SchemaError(ValueError):
    """A document that does not have the promised form. The message starts with the path to the fault."""


def parse(text: str) -> Any:
    """JSON text as Python values. Refuses NaN, infinities and keys that appear twice in one object."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
    except json.JSONDecodeError as error:
        raise SchemaError(f"not JSON: {error}") from None


def decode(kind: type[T], data: Any, path: str) -> T:
    """``data`` as a dataclass ``kind``: every field without a default present, none unknown, each of its type.

    path: where ``data`` comes from, for the messages, e.g. ``manifest``.
    """
    if not isinstance(data, dict):
        raise SchemaError(f"{path}: expected an object, got {_name(data)}")
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in data:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            raise SchemaError(f"{path}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in data and f.default is dataclasses.MISSING]  # type: ignore[arg-type]
    if missing:
        raise SchemaError(f"{path}: missing key {', '.join(map(repr, missing))}")
    return kind(**{name: _value(hints[name], data[name], f"{path}.{name}") for name in names if name in data})


def encode(item: Any) -> Any:
    """The inverse of :func:`decode`. Fields that hold their default are left out, so that a document which was written
    before they were thought of keeps its hash.
    """
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        fields = ((field, getattr(item, field.name)) for field in dataclasses.fields(item))
        return {field.name: encode(value) for field, value in fields if value != field.default}
    if isinstance(item, dict):
        return {key: encode(value) for key, value in item.items()}
    return [encode(value) for value in item] if isinstance(item, list | tuple) else item


def canonical(data: Any) -> bytes:
    """One byte string for one document: sorted keys, no spaces, floats with every digit. Made to be hashed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def pretty(data: Any, width: int = 120, indent: str = "") -> str:
    """JSON for people: whatever fits on a line stays on it. Floats keep every digit."""
    flat = json.dumps(data, allow_nan=False)
    if not isinstance(data, dict | list | tuple) or not data or len(indent) + len(flat) <= width - 2:
        return flat
    inner = indent + "  "
    if isinstance(data, dict):
        items = [f"{json.dumps(key)}: {pretty(value, width - len(key) - 4, inner)}" for key, value in data.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + "\n" + indent + "}"
    return "[\n" + ",\n".join(inner + pretty(item, width, inner) for item in data) + "\n" + indent + "]"


def _value(hint: Any, data: Any, path: str) -> Any:
    """One value checked against one annotation, and turned into it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, data, path)
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast(type, hint), data, path)
    if origin is dict:
        if not isinstance(data, dict):
            raise SchemaError(f"{path}: expected an object, got {_name(data)}")
        return {key: _value(arguments[1], item, f"{path}.{key}") for key, item in data.items()}
    if origin is tuple:
        return _tuple(arguments, data, path)
    if hint is float and type(data) in (int, float):
        return float(data)
    if type(data) is not hint:
        raise SchemaError(f"{path}: expected {_names(hint)}, got {_name(data)}")
    return data


def _union(kinds: tuple[Any, ...], data: Any, path: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    plain = [kind for kind in kinds if kind is not type(None)]
    if len(plain) == 1:
        return _value(plain[0], data, path)
    if type(data) not in plain:
        raise SchemaError(f"{path}: expected {' or '.join(_names(kind) for kind in plain)}, got {_name(data)}")
    return data


def _tuple(kinds: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise SchemaError(f"{path}: expected a list, got {_name(data)}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(kinds) != len(data):
        raise SchemaError(f"{path}: expected {len(kinds)} entries, got {len(data)}")
    return tuple(_value(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True)))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise SchemaError(f"key {key!r} appears twice in one object")
        seen[key] = value
    return seen


def _constant(text: str) -> float:
    raise SchemaError(f"{text} is not a number that a manifest may hold")


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _constant(text)


def _names(hint: Any) -> str:
    return {float: "a number", int: "a whole number", str: "a string", bool: "true or false"}.get(hint, str(hint))


def _name(data: Any) -> str:
    if data is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: f"the string {data!r}", bool: str(data).lower()}
    return kinds.get(type(data), f"the number {data!r}")
