"""An instruction as tokens and as one vector.

Legend: B rows; D distinct instructions; W words; E width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from embodied.types import Obs, TaskSpec

from .tokenizer import INSTRUCTION, PAD, WORDS, Tokenizer, task_vocabulary


@dataclass
class Said:
    """tokens: (B, W, E).  mask: (B, W) bool, True at words.  summary: (B, E)."""

    tokens: Tensor
    mask: Tensor
    summary: Tensor


class Language(nn.Module):
    """Word and position embeddings, and a mean over the words. Every distinct instruction is read once a batch."""

    def __init__(self, spec: TaskSpec, width: int, buckets: int, max_words: int) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(task_vocabulary(spec), buckets, max_words)
        self.embed = nn.Embedding(self.tokenizer.size, width, padding_idx=PAD)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.position = nn.Parameter(0.1 * torch.randn(max_words, width))
        self.features = nn.Linear(width, width)

    def forward(self, obs: Obs) -> Said:
        """Of the group ``instruction``, (B, n) bytes, or of ``words``, (B, W) numbers, where it is there."""
        if WORDS in obs:
            return self.read(obs[WORDS])
        numbers, which = self.tokenizer(obs[INSTRUCTION])
        said = self.read(numbers)
        return Said(said.tokens[which], said.mask[which], said.summary[which])

    def read(self, numbers: Tensor) -> Said:
        """(D, W) word numbers. The summary knows which word stands where; nothing said is a summary of 0."""
        mask = numbers != PAD
        tokens = self.embed(numbers) + self.position[: numbers.shape[1]]
        features = functional.silu(self.features(tokens)) * mask.unsqueeze(-1)
        return Said(tokens, mask, features.sum(1) / mask.sum(1, keepdim=True).clamp_min(1))
