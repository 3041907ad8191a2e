"""Words become numbers, each text once; weights bring their vocabulary."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from embodied.text import encode_text
from embodied.types import ObsGroup, ObsTerm, TaskSpec
from policies.vla.tokenizer import Tokenizer, split_words, task_vocabulary, vocabulary

from .models import LENGTH, WORDS, seeing


def test_words_are_lower_cased_and_punctuation_stands_alone() -> None:
    assert split_words("Put the Red-cube on it, please!") == [
        "put",
        "the",
        "red",
        "-",
        "cube",
        "on",
        "it",
        ",",
        "please",
        "!",
    ]
    assert vocabulary(["b a", "A c."]) == (".", "a", "b", "c")


def test_the_task_states_its_words_and_keeps_them_through_json() -> None:
    spec = seeing()
    assert task_vocabulary(spec) == tuple(sorted(WORDS))
    assert task_vocabulary(TaskSpec.from_dict(json.loads(json.dumps(spec.to_dict())))) == tuple(sorted(WORDS))
    silent = ObsGroup(terms=(ObsTerm("instruction", LENGTH),), shape=(LENGTH,), dtype="uint8", normalize=False)
    assert task_vocabulary(dataclasses.replace(spec, obs={"instruction": silent})) == ()


def test_known_words_have_numbers_of_their_own_and_unknown_ones_share_buckets() -> None:
    tokenizer = Tokenizer(("blue", "cube", "red"), buckets=2, max_words=8)
    assert tokenizer.size == 1 + 2 + 3
    assert [tokenizer.number(word) for word in ("blue", "cube", "red")] == [3, 4, 5]
    assert {tokenizer.number(f"word{i}") for i in range(40)} == {1, 2}
    # CRC-32 of "banana" is 0x038b67cf, an odd number.
    assert tokenizer.encode("Red banana cube") == [5, 2, 4]


def test_each_distinct_text_of_a_batch_is_read_once() -> None:
    tokenizer = Tokenizer(("blue", "cube", "red"), buckets=1, max_words=8)
    rows = encode_text(["red cube", "blue", "red cube", ""], 20)
    numbers, which = tokenizer(rows)
    assert numbers.shape == (3, 2)
    assert numbers[which].tolist() == [[4, 3], [2, 0], [4, 3], [0, 0]]
    assert tokenizer.padded(["blue"], 4).tolist() == [[2, 0, 0, 0]]


def test_weights_bring_their_vocabulary() -> None:
    source, target = Tokenizer(("bb", "aa"), 1, 8), Tokenizer(("xx", "yy"), 1, 8)
    assert target.encode("bb aa") == [1, 1]
    target.load_state_dict(source.state_dict())
    assert target.encode("bb aa") == source.encode("bb aa") == [2, 3]


def test_what_a_runtime_is_told_makes_the_same_numbers() -> None:
    tokenizer = Tokenizer(("cube", "red"), buckets=2, max_words=8)
    told = json.loads(json.dumps(tokenizer.describe()))
    rebuilt = Tokenizer(told["words"], told["buckets"], told["max_words"])
    assert rebuilt.encode("a red, red cube") == tokenizer.encode("a red, red cube")


def test_a_text_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'a b c' has 3 words: policy.trunk.max_words=2"):
        Tokenizer((), 1, 2).encode("a b c")
    assert torch.equal(Tokenizer((), 1, 2)(encode_text([""], 4))[0], torch.zeros(1, 1, dtype=torch.int64))
