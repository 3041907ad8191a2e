"""Instructions as word numbers: a word tokenizer whose vocabulary the task states.

A task lists its words in ``spec.obs["instruction"].terms[i].parameters["words"]`` (words or whole sentences). Words
beyond the list share a few numbers by their CRC-32, so that nothing that can be said is an error.

Legend: B rows; n bytes of a row; D distinct instructions; W words of the longest one.
Numbers: 0 pads; 1 .. U are the unknown words' buckets; U + 1 + i is word i of the vocabulary.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodied.text import decode_text
from embodied.types import TaskSpec

INSTRUCTION = "instruction"
WORDS = "words"
"""The task's parameter that lists them; in an observation, the group of their numbers (B, W), already tokenized."""
PAD = 0
_WORD = re.compile(r"\w+|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Lower-cased words and marks of punctuation, in order."""
    return _WORD.findall(text.lower())


def vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """The distinct words of some texts, in alphabetical order."""
    return tuple(sorted({word for text in texts for word in split_words(text)}))


def task_vocabulary(spec: TaskSpec) -> tuple[str, ...]:
    """The words that a task says its instructions are made of; empty if it does not say."""
    return vocabulary(text for term in spec.obs[INSTRUCTION].terms for text in term.parameters.get(WORDS, ()))


class Tokenizer(nn.Module):
    """Texts to word numbers. The vocabulary is a buffer: weights bring the words that they were trained with.

    words: the vocabulary.  buckets: U.  max_words: W of the longest instruction it takes.
    """

    vocabulary: Tensor

    def __init__(self, words: Sequence[str], buckets: int, max_words: int) -> None:
        super().__init__()
        self.buckets, self.max_words = buckets, max_words
        self.register_buffer("vocabulary", _packed(words))
        self._refresh()
        self.register_load_state_dict_post_hook(lambda module, _: module._refresh())

    def _refresh(self) -> None:
        words = bytes(self.vocabulary.tolist()).decode().split()
        self._numbers = {word: self.buckets + 1 + i for i, word in enumerate(words)}
        self._known: dict[str, list[int]] = {}

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return 1 + self.buckets + len(self._numbers)

    def number(self, word: str) -> int:
        """Of one lower-cased word."""
        return self._numbers.get(word, 1 + zlib.crc32(word.encode()) % self.buckets)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words; each distinct text is tokenized once.

        Raises:
            ValueError: it has more words than ``max_words``.
        """
        if text not in self._known:
            words = split_words(text)
            if len(words) > self.max_words:
                raise ValueError(f"{text!r} has {len(words)} words: policy.trunk.max_words={self.max_words}")
            self._known[text] = [self.number(word) for word in words]
        return self._known[text]

    def padded(self, texts: Sequence[str], width: int | None = None) -> Tensor:
        """(B, W) int64 for B texts; W is that of the longest, at least 1, or ``width``."""
        rows = [self.encode(text) for text in texts]
        width = width or max([1, *map(len, rows)])
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n) uint8 -> the distinct instructions (D, W), and which of them each row is, (B,)."""
        distinct, which = rows.unique(dim=0, return_inverse=True)
        return self.padded(decode_text(distinct)).to(rows.device), which

    def describe(self) -> dict[str, Any]:
        """What a runtime needs to tokenize alike, as plain JSON types."""
        pattern, words = _WORD.pattern, sorted(self._numbers, key=self._numbers.__getitem__)
        return {"pattern": pattern, "lower": True, WORDS: words, "buckets": self.buckets, "max_words": self.max_words}


def _packed(words: Sequence[str]) -> Tensor:
    """The words' bytes with spaces between, uint8."""
    return torch.tensor(list(" ".join(words).encode()), dtype=torch.uint8)
