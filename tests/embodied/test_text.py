from __future__ import annotations

import pytest
import torch

from embodied.text import decode_text, encode_text

TEXTS = ["put the red cube on the plate", "", "Größe \N{ROBOT FACE}", "put the red cube on the plate"]


def test_texts_come_back() -> None:
    rows = encode_text(TEXTS, 40)
    assert rows.shape == (4, 40) and rows.dtype == torch.uint8
    assert rows[0, :3].tolist() == [112, 117, 116] and rows[0, 29:].eq(0).all()
    assert decode_text(rows) == TEXTS


def test_no_rows_at_all() -> None:
    assert decode_text(encode_text([], 8)) == []


def test_a_text_that_does_not_fit() -> None:
    assert decode_text(encode_text(["abcd"], 4)) == ["abcd"]
    with pytest.raises(ValueError, match=r"'aé' has 3 bytes; the group has room for 2"):
        encode_text(["aé"], 2)
    with pytest.raises(ValueError, match="zero byte"):
        encode_text(["a\0b"], 8)
