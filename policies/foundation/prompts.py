"""Prompts by the checkpoint's own ``tokenizer.json``.

Legend: B rows; n bytes of an instruction; W tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embodied.text import decode_text

FILE = "tokenizer.json"


class Prompts:
    """Instructions to token ids; each distinct text is tokenized once.

    ids: (tokenizer, instruction) -> the prompt's token ids.
    """

    def __init__(self, folder: str | Path, ids: Callable[[Any, str], list[int]]) -> None:
        path = Path(folder) / FILE
        if not path.exists():
            raise ValueError(f"{folder} has no {FILE}: it belongs to the published checkpoint")
        self.tokenizer = _tokenizers().Tokenizer.from_file(str(path))
        self._ids, self._known = ids, dict[str, list[int]]()

    def token(self, piece: str) -> int:
        """The id of one token.

        Raises:
            ValueError: the vocabulary does not have it.
        """
        found = self.tokenizer.token_to_id(piece)
        if found is None:
            raise ValueError(f"the tokenizer has no token {piece!r}: {FILE} belongs to another model")
        return found

    def encode(self, text: str) -> list[int]:
        """The prompt's ids for one instruction."""
        if text not in self._known:
            self._known[text] = self._ids(self.tokenizer, text)
        return self._known[text]

    def __call__(self, instruction: Tensor, width: int | None = None) -> tuple[Tensor, Tensor]:
        """(B, n) bytes -> ids (B, W) int64 and where they are any, (B, W) bool; shorter ones start later, after 0s.

        width: W; None: that of the longest.

        Raises:
            ValueError: a prompt has more than ``width`` tokens.
        """
        rows = [self.encode(text) for text in decode_text(instruction)]
        longest = max(map(len, rows))
        if width is not None and longest > width:
            raise ValueError(f"a prompt has {longest} tokens: policy.max_tokens={width}")
        width = width or longest
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=instruction.device)
        count = torch.tensor([len(row) for row in rows], device=instruction.device)
        return ids, torch.arange(width, device=instruction.device) >= width - count.unsqueeze(1)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ValueError("policies on published weights need tokenizers: install the extra `vla`") from error
    return tokenizers
