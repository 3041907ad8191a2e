"""OpenVLA's forward pass once more, on a published checkpoint's tensors by plain operations of torch.

Nothing of the policy or of transformers is used; one row, no padding, no cache. Sources: timm 0.9's
``VisionTransformer`` (blocks, ``get_intermediate_layers``), the Llama paper (arXiv 2302.13971, sec. 2.2), RoPE (arXiv
2104.09864).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from policies.openvla.towers import Tower

from . import published as tiny

Weights = Mapping[str, Tensor]


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(0, 1)


def attention(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """(heads, S, d) each; allowed: (S, S) bool."""
    score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if allowed is not None:
        score = score.masked_fill(~allowed, -math.inf)
    return (score.softmax(-1) @ v).transpose(0, 1).flatten(1)


def tower(w: Weights, prefix: str, sizes: Tower, pixels: Tensor) -> Tensor:
    """(3, S, S) in [0, 1] -> (P, E): the last block but one, patches only."""
    mean, std = torch.tensor(sizes.mean).view(3, 1, 1), torch.tensor(sizes.std).view(3, 1, 1)
    x = F.conv2d((pixels - mean) / std, w[f"{prefix}patch_embed.proj.weight"], stride=sizes.patch)
    x = x.flatten(1).T + w[f"{prefix}patch_embed.proj.bias"] + w[f"{prefix}pos_embed"][0]
    if sizes.registers is not None:
        x = torch.cat([w[f"{prefix}cls_token"][0], w[f"{prefix}reg_token"][0], x])
    for i in range(sizes.depth - 1):
        block = f"{prefix}blocks.{i}."
        q, k, v = (
            heads(p, sizes.heads) for p in linear(w, f"{block}attn.qkv", layer_norm(w, f"{block}norm1", x)).chunk(3, -1)
        )
        x = x + scaled(w, f"{block}ls1", linear(w, f"{block}attn.proj", attention(q, k, v)))
        y = linear(w, f"{block}mlp.fc2", gelu(linear(w, f"{block}mlp.fc1", layer_norm(w, f"{block}norm2", x))))
        x = x + scaled(w, f"{block}ls2", y)
    return x[-tiny.PATCHES :]


def scaled(w: Weights, name: str, x: Tensor) -> Tensor:
    return x * w.get(f"{name}.scale_factor", torch.ones(()))


def rms_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]


def rotated(x: Tensor) -> Tensor:
    """(heads, S, d) turned by position: pairs (i, i + d/2) at 10000^(-2 i / d) radians a position."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1]).view(-1, 1) * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def llama(w: Weights, x: Tensor, causal: bool) -> Tensor:
    """(S, E) -> (S, E)."""
    allowed = torch.ones(len(x), len(x)).tril().bool() if causal else None
    for i in range(tiny.LAYERS):
        block = f"language_model.model.layers.{i}."
        y = rms_norm(w, f"{block}input_layernorm", x)
        q, k, v = (heads(y @ w[f"{block}self_attn.{part}_proj.weight"].T, tiny.HEADS) for part in "qkv")
        x = x + attention(rotated(q), rotated(k), v, allowed) @ w[f"{block}self_attn.o_proj.weight"].T
        y = rms_norm(w, f"{block}post_attention_layernorm", x)
        gate, up = (y @ w[f"{block}mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        x = x + (gate * torch.sigmoid(gate) * up) @ w[f"{block}mlp.down_proj.weight"].T
    return rms_norm(w, "language_model.model.norm", x)


def sequence(w: Weights, pixels: Tensor, words: list[int]) -> Tensor:
    """The embeddings (S, E) of an image (3, S, S) behind the first of some words."""
    patches = torch.cat(
        [
            tower(w, "vision_backbone.featurizer.", tiny.DINO, pixels),
            tower(w, "vision_backbone.fused_featurizer.", tiny.SIGLIP, pixels),
        ],
        -1,
    )
    patches = gelu(linear(w, "projector.fc2", gelu(linear(w, "projector.fc1", patches))))
    patches = linear(w, "projector.fc3", patches)
    text = w["language_model.model.embed_tokens.weight"][words]
    return torch.cat([text[:1], patches, text[1:]])


def logits(w: Weights, hidden: Tensor) -> Tensor:
    """(Q, all words)."""
    return hidden @ w["language_model.lm_head.weight"].T
