from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from policies.vla.tokenizer import Tokenizer
from sim2real import perception as p
from sim2real.schema import SchemaError
from tests.policies.vla.models import LENGTH, WORDS, seeing

TOLD = p.Instruction("words", 60, 6, r"\w+|[^\w\s]", True, 4, ("cube", "put", "red"))
CAMERA = p.Image("image", (16, 16, 3), "uint8", "RGB", (0, 255))


def test_words_are_numbered_by_hand():
    """Unknown words take the buckets 1 .. 4, the vocabulary 5, 6, 7; the mark is a word of its own."""
    stray, mark = (1 + zlib.crc32(word) % 4 for word in (b"z\xc3\xbcg", b"!"))
    assert p.word_numbers(TOLD, "Put RED züg!") == [6, 7, stray, mark, 0, 0]
    assert p.word_numbers(TOLD, "") == [0] * 6
    with pytest.raises(ValueError, match=r"has 7 words; this policy reads at most 6"):
        p.word_numbers(TOLD, "put " * 7)


@pytest.mark.parametrize(
    "text", ["put the red cube on the plate", "Please, PUT it?", "", "naïve; 3 cubes…", "a\tb\n c"]
)
def test_the_runtime_tokenizes_as_the_policy(text: str):
    tokenizer = Tokenizer(WORDS, buckets=3, max_words=12)
    told = p.instruction_of(seeing(), tokenizer.describe())
    assert told is not None and told.length == LENGTH and told.words == WORDS
    assert p.word_numbers(told, text) == tokenizer.padded([text], 12)[0].tolist()


def test_a_task_without_camera_or_tokenizer():
    assert p.image_of(seeing()) == CAMERA
    spec = seeing()
    blind = replace(spec, obs={"policy": spec.obs["policy"]})
    assert p.image_of(blind) is None and p.instruction_of(blind, None) is None
    for change in ({"shape": (2, 16, 16, 3)}, {"dtype": "float32"}, {"shape": (3, 16, 16)}):
        camera = replace(spec.obs["image"], **change)
        with pytest.raises(ValueError, match=r"only \(h, w, 3\) of uint8 can be exported"):
            p.image_of(replace(spec, obs={**spec.obs, "image": camera}))


@pytest.mark.parametrize(
    ("image", "told", "message"),
    [
        ({"channels": "BGR"}, {}, r"uint8 BGR \(0, 255\) is not known; valid: uint8 RGB"),
        ({"range": (0, 1)}, {}, "valid: uint8 RGB"),
        ({}, {"pattern": "("}, "pattern is no regular expression"),
        ({}, {"buckets": 0}, "must be at least 1"),
        ({}, {"words": ("a", "a")}, "a word appears twice"),
    ],
)
def test_what_cannot_be_fed_is_refused(image: dict[str, Any], told: dict[str, Any], message: str):
    p.check(CAMERA, TOLD)
    p.check(None, None)
    with pytest.raises(SchemaError, match=message):
        p.check(replace(CAMERA, **image), replace(TOLD, **told))
