from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from embodied.text import encode_text
from policies.foundation.prompts import Prompts

from .tiny import write_tokenizer

pytest.importorskip("tokenizers")


def ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_rows_end_in_the_same_column_and_the_mask_says_where_they_begin(tmp_path: Path) -> None:
    v = write_tokenizer(tmp_path, ("<unk>", "<s>"))
    found, mask = Prompts(tmp_path, ids)(encode_text(["ab c", "a"], 10))
    assert found.tolist() == [[v["▁"], v["a"], v["b"], v["▁"], v["c"]], [0, 0, 0, v["▁"], v["a"]]]
    assert mask.tolist() == [[True] * 5, [False] * 3 + [True] * 2]


def test_a_width_may_be_asked_for_and_must_be_enough(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, ("<unk>",))
    prompts = Prompts(tmp_path, ids)
    found, mask = prompts(encode_text(["ab"], 10), 6)
    assert found.shape == mask.shape == (1, 6) and mask.sum() == 3
    with pytest.raises(ValueError, match=r"a prompt has 3 tokens: policy.max_tokens=2"):
        prompts(encode_text(["ab"], 10), 2)


def test_each_text_is_tokenized_once(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, ("<unk>",))
    seen: list[str] = []

    def noted(tokenizer: Any, text: str) -> list[int]:
        seen.append(text)
        return ids(tokenizer, text)

    prompts = Prompts(tmp_path, noted)
    for _ in range(2):
        prompts(encode_text(["a", "b", "a"], 4))
    assert sorted(seen) == ["a", "b"]


def test_a_folder_without_tokenizer_and_an_unknown_token_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no tokenizer.json"):
        Prompts(tmp_path, ids)
    write_tokenizer(tmp_path, ("<unk>",))
    with pytest.raises(ValueError, match=r"no token '<bos>'"):
        Prompts(tmp_path, ids).token("<bos>")


def test_on_the_device_of_the_instructions(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, ("<unk>",))
    found, mask = Prompts(tmp_path, ids)(encode_text(["a"], 4))
    assert found.dtype == torch.int64 and mask.dtype == torch.bool
