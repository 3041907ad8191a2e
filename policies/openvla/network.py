"""OpenVLA's network: two vision towers, a projector, Llama 2 (Kim et al. 2024, arXiv 2406.09246, sec. 3.1).

Image tokens stand after the word ``<s>`` and before the prompt. Prompts of different lengths are filled up between
image and prompt, so that all end in the same column; masked, and with positions that do not count what is masked, they
change nothing.

Legend: B rows; h, w pixels; P patches; W words of the longest prompt; S = 1 + P + W; Q positions asked; E width of the
language model; N action tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..foundation.frozen import PartlyFrozen
from ..foundation.images import stretched
from .layout import Published
from .towers import VisionTower

PARTS = {
    "vision": ("dino.", "siglip."),
    "projector": ("projector.",),
    "language": ("language.model.",),
    "head": ("language.lm_head",),
}
"""What may get adapters: part -> names that its modules start with."""


class Projector(nn.Module):
    """Patches of both towers, side by side, to words: (B, P, E1 + E2) -> (B, P, E)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(size, 4 * size), nn.Linear(4 * size, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(functional.gelu(self.fc2(functional.gelu(self.fc1(x.to(self.fc1.weight.dtype))))))


@dataclass
class Seen:
    """embeddings: (B, S, E).  mask: (B, S) bool, False where there is nothing."""

    embeddings: Tensor
    mask: Tensor

    def positions(self) -> Tensor:
        """(B, S): how many tokens stand before each."""
        return (self.mask.long().cumsum(-1) - 1).clamp_min(0)

    def with_tail(self, tail: Tensor) -> Seen:
        """With Q more tokens (B, Q, E)."""
        mask = functional.pad(self.mask, (0, tail.shape[1]), value=True)
        return Seen(torch.cat([self.embeddings, tail], 1), mask)


class OpenVLANetwork(PartlyFrozen):
    """dino, siglip, projector, language: the parts, in the modules of transformers; each may have a type of its own."""

    def __init__(self, published: Published, start: int, dtype: torch.dtype) -> None:
        """start: the id of ``<s>``."""
        super().__init__()
        from transformers import AutoModelForCausalLM, LlamaConfig
        from transformers.initialization import no_init_weights

        self.side, self.start = published.side, start
        self.words = slice(published.vocabulary - published.bins, published.vocabulary)
        text = LlamaConfig(**published.text)
        with no_init_weights():  # a checkpoint fills them
            self.dino = VisionTower(published.dino, published.side, dtype)
            self.siglip = VisionTower(published.siglip, published.side, dtype)
            self.projector = Projector(published.dino.width + published.siglip.width, text.hidden_size).to(dtype)
            self.language: Any = AutoModelForCausalLM.from_config(text, dtype=dtype)

    @property
    def width(self) -> int:
        """E."""
        return self.language.config.hidden_size

    def recompute(self) -> None:
        """In training mode, have the backward pass compute activations anew instead of keeping them."""
        for part in (self.dino.model, self.siglip.model, self.language):
            part.activation_checkpointing_enable()

    def see(self, image: Tensor, ids: Tensor, mask: Tensor) -> Seen:
        """Images (B, h, w, 3) and prompts (B, W) with their mask as one sequence."""
        pixels = stretched(image, self.side)
        patches = self.projector(torch.cat([self.dino(pixels), self.siglip(pixels)], -1))
        words = self.embed(functional.pad(ids, (1, 0), value=self.start))
        visible = functional.pad(mask, (1 + patches.shape[1], 0), value=True)
        return Seen(torch.cat([words[:, :1], patches.to(words.dtype), words[:, 1:]], 1), visible)

    def embed(self, ids: Tensor) -> Tensor:
        """(...) -> (..., E)."""
        return self.language.get_input_embeddings()(ids)

    def read(self, seen: Seen, count: int, causal: bool = True) -> Tensor:
        """Hidden states (B, Q, E) of the last ``count`` = Q positions.

        causal: a token attends to those before it; otherwise all attend to all.
        """
        mask = seen.mask if causal else seen.mask[:, None, None].expand(-1, 1, seen.mask.shape[1], -1)
        found = self.language.model(
            inputs_embeds=seen.embeddings, attention_mask=mask, position_ids=seen.positions(), use_cache=False
        )
        return found.last_hidden_state[:, -count:]

    def read_on(self, seen: Seen, cache: Any) -> tuple[Tensor, Any]:
        """The last position's hidden state (B, 1, E), and the keys and values of all.

        cache: of the tokens before the last one; None: there are none, read all.
        """
        fresh = slice(None) if cache is None else slice(-1, None)
        found = self.language.model(
            inputs_embeds=seen.embeddings[:, fresh],
            attention_mask=seen.mask,
            position_ids=seen.positions()[:, fresh],
            past_key_values=cache,
            use_cache=True,
        )
        return found.last_hidden_state[:, -1:], found.past_key_values

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., N) of hidden states (..., E), at least float32, from the lowest action to the highest."""
        head = self.language.lm_head
        found = head(hidden.to(head.weight.dtype))[..., self.words].flip(-1)
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def word(self, token: Tensor) -> Tensor:
        """The word ids of action tokens, of any shape."""
        return self.words.stop - 1 - token
