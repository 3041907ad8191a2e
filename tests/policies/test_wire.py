from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies.wire import WireError, pack, unpack

msgpack = pytest.importorskip("msgspec.msgpack", reason="the extra `serve` is not installed")


def array(data: Any = b"\x01\x02", dtype: Any = "|u1", shape: Any = (2,)) -> bytes:
    """A message that holds one array, well or badly made."""
    return msgpack.encode({"x": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}})


def test_the_bytes_are_those_of_openpi():
    """By hand after the msgpack specification: fixmap, fixstr, fixmap of bin 8 keys, true, bin 8, fixstr, fixarray."""
    by_hand = b"\x81\xa1x\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x04\x00\x00\x80?"
    by_hand += b"\xc4\x05dtype\xa3<f4\xc4\x05shape\x92\x01\x01"
    assert pack({"x": np.ones((1, 1), "<f4")}) == by_hand
    found = unpack(by_hand)["x"]
    assert found.dtype == np.float32 and found.shape == (1, 1) and found[0, 0] == 1.0
    scalar = b"\x83\xc4\x0d__npgeneric__\xc3\xc4\x04data\x07\xc4\x05dtype\xa3<i8"
    assert pack(np.int64(7)) == scalar and unpack(scalar) == 7 and unpack(scalar).dtype == np.int64


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", ">i4", "int64", "float16", "float32", "<f8"])
def test_arrays_come_back(dtype: str):
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    message = {"a": x[:, ::2], "b": [None, True, 1, 1.5, "ü", b"\0", {"c": x[0, 0]}], "empty": x[:0]}
    found = unpack(pack(message))
    for ours, theirs in ((x[:, ::2], found["a"]), (x[0, 0], found["b"][6]["c"]), (x[:0], found["empty"])):
        np.testing.assert_array_equal(theirs, ours)
        assert theirs.dtype == ours.dtype and theirs.shape == ours.shape and theirs.flags.writeable
    assert found["b"][:6] == [None, True, 1, 1.5, "ü", b"\0"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array(dtype="|O"), r"dtype '\|O' is not allowed"),
        (array(dtype="<c8"), "is not allowed"),
        (array(dtype="|V2"), "is not allowed"),
        (array(dtype="u1,O"), "is not allowed"),
        (array(dtype=None), "dtype None is not allowed"),
        (array(shape=(3,)), r"shape \(3,\) and dtype \|u1 cannot be made of 2 bytes"),
        (array(shape=(-1,)), "must be up to 8 whole numbers"),
        (array(shape=(1 << 40, 1 << 40)), "cannot be made of 2 bytes"),
        (array(shape=(1,) * 9), "must be up to 8"),
        (array(shape="2"), "must be up to 8"),
        (array(shape=(True, 2)), "must be up to 8"),
        (array(data=[1, 2]), "cannot be made of list"),
        (msgpack.encode({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "not a msgpack message"),
        (msgpack.encode({b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}), "cannot be made of str"),
        (msgpack.encode({1: 2}), "keys must be texts"),
        (msgpack.encode(msgpack.Ext(5, b"x")), "Ext is not allowed"),
        (b"\xd6\xff\x00\x00\x00\x00", "datetime is not allowed"),
        (b"\x81\xa1x", "not a msgpack message"),
        (b"\xdd\xff\xff\xff\xff", "not a msgpack message"),
        (b"\x91" * 100000 + b"\x01", "nested too deeply"),
        (b"\x80\x80", "not a msgpack message"),
        (b"", "not a msgpack message"),
    ],
)
def test_what_is_not_allowed_is_refused(data: bytes, message: str):
    with pytest.raises(WireError, match=message):
        unpack(data)


@pytest.mark.parametrize("item", [np.array([{}], object), np.array(["a"]), {1: 2}, {3}, 1j, np.complex64(1)])
def test_what_is_not_allowed_is_not_sent(item: Any):
    with pytest.raises(WireError, match=r"not allowed|must be texts"):
        pack(item)
