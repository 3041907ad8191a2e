"""What a policy sees and is told, as a bundle's contract states it: one camera image and one instruction in words.

Needs the standard library alone, as :mod:`.contract`.

Legend: h, w pixels; W word numbers of an instruction; U buckets of unknown words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .schema import SchemaError

if TYPE_CHECKING:
    from embodied.types import TaskSpec

IMAGE_GROUP, INSTRUCTION_GROUP = "image", "instruction"
WORDS = "words"
"""The input that holds an instruction's word numbers."""


@dataclass(frozen=True)
class Image:
    """A camera's picture, fed to ``input`` as it is: (h, w, 3), dtype uint8, the channels in this order.

    range: the values of black and of full intensity. Scaling is inside the model.
    """

    input: str
    shape: tuple[int, int, int]
    dtype: str
    channels: str
    range: tuple[int, int]


@dataclass(frozen=True)
class Instruction:
    """A text as ``max_words`` numbers int64, fed to ``input``: see :func:`word_numbers`.

    length: the most bytes of UTF-8 that the task says.  pattern: the regular expression (Python's ``re``) of one word.
    lower: the text is lower-cased first.  words: the vocabulary.  buckets: U, shared by all other words.
    """

    input: str
    length: int
    max_words: int
    pattern: str
    lower: bool
    buckets: int
    words: tuple[str, ...]


def image_of(spec: TaskSpec) -> Image | None:
    """The camera of a task, None for one without.

    Raises:
        ValueError: it has several, or pictures that are not bytes in RGB.
    """
    if IMAGE_GROUP not in spec.obs:
        return None
    group = spec.obs[IMAGE_GROUP]
    if len(group.shape) != 3 or group.shape[-1] != 3 or group.dtype != "uint8":
        found = f"{group.shape} of {group.dtype}"
        raise ValueError(f"task {spec.name!r} observes images {found}; only (h, w, 3) of uint8 can be exported")
    height, width, channels = group.shape
    return Image(IMAGE_GROUP, (height, width, channels), "uint8", "RGB", (0, 255))


def instruction_of(spec: TaskSpec, tokenizer: Mapping[str, Any] | None) -> Instruction | None:
    """The instructions of a task as a policy's tokenizer reads them; None for a policy that reads none.

    tokenizer: pattern, lower, buckets, words and max_words.
    """
    if tokenizer is None:
        return None
    found = {**tokenizer, WORDS: tuple(tokenizer[WORDS])}
    return Instruction(input=WORDS, length=spec.obs[INSTRUCTION_GROUP].shape[0], **found)


def word_numbers(instruction: Instruction, text: str) -> list[int]:
    """A text as ``max_words`` numbers: 0 pads; 1 .. U are unknown words by their CRC-32; U + 1 + i is word i.

    Raises:
        ValueError: it has more words than that.
    """
    words = re.findall(instruction.pattern, text.lower() if instruction.lower else text)
    if len(words) > instruction.max_words:
        raise ValueError(f"{text!r} has {len(words)} words; this policy reads at most {instruction.max_words}")
    known = {word: instruction.buckets + 1 + i for i, word in enumerate(instruction.words)}
    numbers = [known.get(word, 1 + zlib.crc32(word.encode()) % instruction.buckets) for word in words]
    return numbers + [0] * (instruction.max_words - len(numbers))


def check(image: Image | None, instruction: Instruction | None) -> None:
    """Raise :class:`SchemaError` unless this program can feed such inputs."""
    if image is not None and (image.dtype, image.channels, image.range) != ("uint8", "RGB", (0, 255)):
        found = f"{image.dtype} {image.channels} {image.range}"
        raise SchemaError(f"image: {found} is not known; valid: uint8 RGB (0, 255)")
    if instruction is None:
        return
    if min(instruction.length, instruction.max_words, instruction.buckets) < 1:
        raise SchemaError("instruction: length, max_words and buckets must be at least 1")
    try:
        re.compile(instruction.pattern)
    except re.error as error:
        raise SchemaError(f"instruction.pattern is no regular expression: {error}") from None
    if len(set(instruction.words)) != len(instruction.words):
        raise SchemaError("instruction.words: a word appears twice")
