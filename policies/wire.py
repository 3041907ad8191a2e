"""Messages of openpi's policy servers: msgpack, with NumPy arrays as maps of their bytes. Nothing is ever unpickled.

An array is ``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [..]}``, a NumPy scalar
``{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}`` (openpi-client 0.1, ``msgpack_numpy``). Whatever comes
from the network is checked: only booleans, integers and floats become arrays, and only of as many bytes as they say.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_PLAIN = (type(None), bool, int, float, str, bytes)


class WireError(ValueError):
    """A message that this protocol does not allow."""


def pack(message: Any) -> bytes:
    """Dicts with text keys, lists, arrays, numbers, texts and bytes as one message.

    Raises:
        WireError: it holds something else, such as an array of objects.
    """
    return _codec().encode(_plain(message))


def unpack(data: bytes) -> Any:
    """The inverse of :func:`pack`. Arrays are copies that own their memory.

    Raises:
        WireError: it is no msgpack, or holds what is not allowed; the message says what.
    """
    codec = _codec()
    try:
        return _checked(codec.decode(data))
    except WireError:
        raise
    except RecursionError:
        raise WireError("the message is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # msgspec's are ValueErrors; a scalar may be too large for its dtype
        raise WireError(f"not a msgpack message: {error}") from None


def _codec() -> Any:
    try:
        import msgspec.msgpack
    except ImportError as error:
        raise ImportError("policy servers need the extra `serve`: pip install -e '.[serve]'") from error
    return msgspec.msgpack


def _plain(item: Any) -> Any:
    if isinstance(item, np.ndarray):
        return {ARRAY: True, b"data": item.tobytes(), b"dtype": _named(item.dtype), b"shape": list(item.shape)}
    if isinstance(item, np.generic):
        return {SCALAR: True, b"data": item.item(), b"dtype": _named(item.dtype)}
    if isinstance(item, dict):
        return {_text(key): _plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(value) for value in item]
    return _known(item)


def _checked(item: Any) -> Any:
    if isinstance(item, dict):
        if ARRAY in item:
            return _array(item)
        if SCALAR in item:
            return _dtype(item.get(b"dtype")).type(_number(item.get(b"data")))
        return {_text(key): _checked(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_checked(value) for value in item]
    return _known(item)


def _array(item: dict[Any, Any]) -> np.ndarray:
    dtype, shape, data = _dtype(item.get(b"dtype")), item.get(b"shape"), item.get(b"data")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 8:
        raise WireError(f"an array's shape must be up to 8 whole numbers, got {shape!r}")
    if not isinstance(data, bytes) or len(data) != math.prod(shape) * dtype.itemsize:
        found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise WireError(f"an array of shape {tuple(shape)} and dtype {dtype.str} cannot be made of {found}")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise WireError(f"dtype {name!r} is not allowed; valid: booleans, integers and floats such as '|u1' and '<f4'")
    return np.dtype(name)


def _named(dtype: np.dtype[Any]) -> str:
    return _dtype(dtype.str).str


def _number(data: Any) -> Any:
    if not isinstance(data, bool | int | float):
        raise WireError(f"a NumPy scalar cannot be made of {type(data).__name__}")
    return data


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise WireError(f"keys must be texts, got {key!r}")
    return key


def _known(item: Any) -> Any:
    if not isinstance(item, _PLAIN):
        raise WireError(f"{type(item).__name__} is not allowed in a message")
    return item
