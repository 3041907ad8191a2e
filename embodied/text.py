"""Instructions as tensors: UTF-8 bytes, so that every policy reads them with its own tokenizer.

Legend: B rows; L length of the group ``instruction``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def encode_text(texts: Sequence[str], length: int) -> Tensor:
    """(B, L) uint8: each text's UTF-8 bytes, filled up with zeros.

    Raises:
        ValueError: a text of more than L bytes, or one that holds a zero byte.
    """
    found = torch.zeros(len(texts), length, dtype=torch.uint8)
    for row, text in zip(found, texts, strict=True):
        data = text.encode()
        if len(data) > length:
            raise ValueError(f"{text!r} has {len(data)} bytes; the group has room for {length}")
        if 0 in data:
            raise ValueError(f"{text!r} holds a zero byte, which ends a text")
        if data:
            row[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return found


def decode_text(rows: Tensor) -> list[str]:
    """The texts of (B, L) uint8; each is decoded once, however many rows hold it."""
    distinct, which = rows.cpu().unique(dim=0, return_inverse=True)
    texts = [bytes(row.tolist()).split(b"\0", 1)[0].decode() for row in distinct]
    return [texts[i] for i in which.tolist()]
