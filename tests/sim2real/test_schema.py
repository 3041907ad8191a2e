from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from sim2real.schema import SchemaError, canonical, decode, encode, parse, pretty


@dataclass(frozen=True)
class Inner:
    gain: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    count: int
    limit: float | None
    inner: Inner
    pair: tuple[float, float]
    shape: tuple[str | int, ...]
    ranges: dict[str, tuple[float, float]]
    anything: dict[str, Any]


GOOD: dict[str, Any] = {
    "count": 3,
    "limit": None,
    "inner": {"gain": 2, "names": ["a", "b"]},
    "pair": [1.0, 2.0],
    "shape": ["batch", 4],
    "ranges": {"x": [-1, 1]},
    "anything": {"deep": [1, {"k": None}]},
}


def test_decode_gives_the_annotated_types():
    outer = decode(Outer, GOOD, "doc")
    assert outer.inner == Inner(2.0, ("a", "b")) and isinstance(outer.inner.gain, float)
    assert outer.pair == (1.0, 2.0) and outer.shape == ("batch", 4) and outer.ranges == {"x": (-1.0, 1.0)}
    assert outer.anything == {"deep": [1, {"k": None}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3.5}, r"doc\.count: expected a whole number, got the number 3\.5"),
        ({"count": True}, r"doc\.count: expected a whole number, got true"),
        ({"limit": "x"}, r"doc\.limit: expected a number, got the string 'x'"),
        ({"inner": {"gain": 1, "names": ["a", 2]}}, r"doc\.inner\.names\[1\]: expected a string"),
        ({"inner": {"gain": 1}}, r"doc\.inner: missing key 'names'"),
        ({"inner": [1]}, r"doc\.inner: expected an object, got a list"),
        ({"pair": [1.0]}, r"doc\.pair: expected 2 entries, got 1"),
        ({"pair": 1.0}, r"doc\.pair: expected a list"),
        ({"shape": [None]}, r"doc\.shape\[0\]: expected a string or a whole number, got null"),
        ({"ranges": {"x": [0, "1"]}}, r"doc\.ranges\.x\[1\]: expected a number"),
        ({"limt": 1}, r"unknown key 'limt'; did you mean 'limit'"),
    ],
)
def test_decode_names_the_place_of_a_fault(change: dict[str, Any], message: str):
    with pytest.raises(SchemaError, match=message):
        decode(Outer, GOOD | change, "doc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "key 'a' appears twice"),
        ('{"a": {"b": 1, "b": 1}}', "key 'b' appears twice"),
        ("[NaN]", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[1e999]", "1e999 is not a number"),
        ('{"a": 1', "not JSON"),
    ],
)
def test_parse_refuses(text: str, message: str):
    with pytest.raises(SchemaError, match=message):
        parse(text)


@dataclass(frozen=True)
class Grown:
    count: int
    inner: Inner | None = None
    ties: int = 0


def test_a_field_with_a_default_may_be_missing_and_is_then_not_written():
    for data in ({"count": 1}, {"count": 1, "ties": 2}, {"count": 1, "inner": {"gain": 2.0, "names": ["a"]}}):
        assert encode(decode(Grown, data, "doc")) == data
    assert encode(decode(Outer, GOOD, "doc")) == GOOD
    with pytest.raises(SchemaError, match="doc: missing key 'count'"):
        decode(Grown, {}, "doc")


def test_pretty_and_canonical_keep_every_digit():
    data = {"b": [0.1 + 0.2, 1e-17, -1.2345678901234567], "a": {"long": ["x" * 40] * 4, "empty": {}}}
    assert json.loads(pretty(data)) == data == json.loads(canonical(data))
    assert canonical(data) == canonical(dict(reversed(data.items())))
    assert max(len(line) for line in pretty(data).splitlines()) <= 120


def test_nan_cannot_be_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        pretty({"x": float("nan")})
