"""pi0's network (Black et al. 2024, arXiv 2410.24164, sec. IV): PaliGemma, and an action expert beside it.

Images and prompt are one block of tokens, which attend to each other; the state is a second, the noisy actions a third;
each block also attends to those before it (appendix B). What the first block leaves behind in every layer, its keys and
values, does not know of the others: it is computed once a decision, and the expert, of the same depth and the same
heads, continues from it at every step of the flow.

The published time runs from 1 (noise) to 0 (action), the suite's from 0 to 1: velocities differ in sign.

Legend: B rows; V views; h, w pixels; W words; S tokens of images and prompt; H action chunk; M padded action size;
D padded state size; E width of the language model; L layers; G heads of keys and values; d numbers of a head; b times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..foundation.frozen import PartlyFrozen
from ..foundation.images import letterboxed
from .layout import Gemma, Published

PARTS = {
    "vision": ("vision.",),
    "projector": ("projector",),
    "language": ("language.",),
    "expert": ("expert.", "state_proj", "action_"),
}
"""What may learn: part -> names that its modules start with."""
SHORTEST, LONGEST = 4e-3, 4.0
"""Periods of the waves that the time is told by (appendix B)."""


@dataclass
class Read:
    """What was read. mask: (B, S) bool.  pairs: (B, L, 2, G, S, d) keys and values.  summary: (B, E), its mean."""

    mask: Tensor
    pairs: Tensor
    summary: Tensor


class Pi0Network(PartlyFrozen):
    """vision, projector, language, expert: in the modules of transformers; the others are the expert's linear layers.

    Each of the four parts may have a type of its own.
    """

    def __init__(self, published: Published, dtype: torch.dtype) -> None:
        super().__init__()
        from transformers.initialization import no_init_weights

        self.published = published
        width, state, action = published.expert.width, published.state, published.action
        with no_init_weights():  # a checkpoint fills them
            self.vision = _vision(published, dtype)
            self.language, self.expert = _gemma(published.language, dtype), _gemma(published.expert, dtype)
        self.expert.embed_tokens = nn.Identity()  # it is told no words
        self.projector = nn.Linear(published.vision.width, published.language.width, dtype=dtype)
        self.state_proj = nn.Linear(state, width, dtype=dtype)
        self.action_in_proj = nn.Linear(action, width, dtype=dtype)
        self.action_time_mlp_in = nn.Linear(2 * width, width, dtype=dtype)
        self.action_time_mlp_out = nn.Linear(width, width, dtype=dtype)
        self.action_out_proj = nn.Linear(width, action, dtype=dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the expert's weights."""
        return self.action_out_proj.weight.dtype

    def read(self, image: Tensor, ids: Tensor, mask: Tensor) -> Read:
        """Images (B, V, h, w, 3) and prompts (B, W) with their mask."""
        patches = self._look(image.flatten(0, 1)).unflatten(0, image.shape[:2]).flatten(1, 2)
        words = self.language.embed_tokens(ids)
        tokens = torch.cat([patches.to(words.dtype), words], 1)
        mask = functional.pad(mask, (patches.shape[1], 0), value=True)
        found = self.language(
            inputs_embeds=tokens,
            attention_mask=mask[:, None, None].expand(-1, 1, mask.shape[1], -1),
            position_ids=_positions(mask),
            use_cache=True,
        )
        pairs = [torch.stack([layer.keys, layer.values], 1) for layer in found.past_key_values.layers]
        share = (mask / mask.sum(-1, keepdim=True)).to(tokens.dtype)
        return Read(mask, torch.stack(pairs, 1), (share.unsqueeze(1) @ found.last_hidden_state).squeeze(1))

    def _look(self, image: Tensor) -> Tensor:
        """(n, h, w, 3) -> (n, P, E)."""
        pixels = 2 * letterboxed(image, self.published.side) - 1
        found = self.vision(pixels.to(self.vision.dtype)).last_hidden_state
        return self.projector(found.to(self.projector.weight.dtype))

    def velocity(self, read: Read, state: Tensor, action: Tensor, time: Tensor) -> Tensor:
        """The published velocity (B, H, M), noise minus action, at noisy actions (B, H, M) and times (B,).

        state: (B, D).
        """
        told = self.embed(state, action, time)
        count = told.shape[1]
        seen = functional.pad(read.mask, (0, count), value=True)
        allowed = seen.unsqueeze(1).repeat(1, count, 1)
        allowed[:, 0, -count + 1 :] = False  # the state does not attend to the actions
        found = self.expert(
            inputs_embeds=told,
            attention_mask=allowed.unsqueeze(1),
            position_ids=_positions(seen)[:, -count:],
            past_key_values=_cache(read.pairs.to(self.dtype)),
            use_cache=True,
        )
        return self.action_out_proj(found.last_hidden_state[:, 1:])

    def embed(self, state: Tensor, action: Tensor, time: Tensor) -> Tensor:
        """State and noisy actions as the expert's tokens, (B, 1 + H, width of the expert)."""
        x = self.action_in_proj(action.to(self.dtype))
        waves = time_waves(time, x.shape[-1]).to(x.dtype).unsqueeze(1).expand_as(x)
        x = self.action_time_mlp_out(functional.silu(self.action_time_mlp_in(torch.cat([x, waves], -1))))
        return torch.cat([self.state_proj(state.to(self.dtype)).unsqueeze(1), x], 1)


def time_waves(time: Tensor, size: int) -> Tensor:
    """Sines, then cosines, of times (b,): (b, size); phases are in double precision, since periods are short."""
    share = torch.linspace(0, 1, size // 2, dtype=torch.float64, device=time.device)
    period = SHORTEST * (LONGEST / SHORTEST) ** share
    phase = 2 * math.pi * time.double().unsqueeze(-1) / period
    return torch.cat([phase.sin(), phase.cos()], -1)


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(-1) - 1).clamp_min(0)


def _cache(pairs: Tensor) -> Any:
    """A cache that begins with keys and values (B, L, 2, G, S, d)."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for i, (keys, values) in enumerate(layer.unbind(1) for layer in pairs.unbind(1)):
        cache.update(keys, values, i)
    return cache


def _gemma(sizes: Gemma, dtype: torch.dtype) -> Any:
    from transformers import AutoModel, GemmaConfig

    config = GemmaConfig(
        vocab_size=sizes.words,
        hidden_size=sizes.width,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.pairs,
        head_dim=sizes.head,
        hidden_act="gelu_pytorch_tanh",
        rms_norm_eps=1e-6,
    )
    return AutoModel.from_config(config, dtype=dtype)


def _vision(published: Published, dtype: torch.dtype) -> Any:
    from transformers import AutoModel, SiglipVisionConfig

    sizes = published.vision
    config = SiglipVisionConfig(
        hidden_size=sizes.width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.hidden,
        image_size=published.side,
        patch_size=sizes.patch,
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-6,
        vision_use_head=False,
    )
    return AutoModel.from_config(config, dtype=dtype)
