"""pi0's velocity once more, on a published checkpoint's tensors by plain operations of torch.

All tokens go through both transformers at once, layer by layer, as openpi trains it: no cache, no padding, one row, and
nothing of the policy or of transformers. Sources: pi0's paper (arXiv 2410.24164, sec. IV and appendix B), Gemma's
(arXiv 2403.08295, sec. 2), SigLIP's tower as a ViT with a norm at its end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..openvla.reference import attention, heads, layer_norm, linear, rotated
from . import published as tiny

Weights = Mapping[str, Tensor]


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def tower(w: Weights, image: Tensor) -> Tensor:
    """(3, S, S) in [0, 1] -> (P, E of the language model)."""
    prefix = f"{tiny.TOP}paligemma.model.vision_tower.vision_model."
    x = F.conv2d(2 * image - 1, w[f"{prefix}embeddings.patch_embedding.weight"], stride=tiny.VISION.patch).flatten(1).T
    x = x + w[f"{prefix}embeddings.patch_embedding.bias"] + w[f"{prefix}embeddings.position_embedding.weight"]
    for i in range(tiny.VISION.depth):
        block = f"{prefix}encoder.layers.{i}."
        y = layer_norm(w, f"{block}layer_norm1", x)
        q, k, v = (heads(linear(w, f"{block}self_attn.{part}_proj", y), tiny.VISION.heads) for part in "qkv")
        x = x + linear(w, f"{block}self_attn.out_proj", attention(q, k, v))
        y = layer_norm(w, f"{block}layer_norm2", x)
        x = x + linear(w, f"{block}mlp.fc2", gelu(linear(w, f"{block}mlp.fc1", y)))
    x = layer_norm(w, f"{prefix}post_layernorm", x)
    return linear(w, f"{tiny.TOP}paligemma.model.multi_modal_projector.linear", x)


def rms_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + w[f"{name}.weight"])


def told(w: Weights, state: Tensor, action: Tensor, time: float) -> Tensor:
    """State (D,) and noisy actions (H, M) at a published time as tokens (1 + H, E of the expert)."""
    size = tiny.EXPERT.width
    period = torch.tensor([4e-3 * (4.0 / 4e-3) ** (i / (size // 2 - 1)) for i in range(size // 2)], dtype=torch.float64)
    phase = 2 * math.pi * time / period
    waves = torch.cat([phase.sin(), phase.cos()]).float()
    x = torch.cat([linear(w, "action_in_proj", action), waves.expand(len(action), -1)], -1)
    x = linear(w, "action_time_mlp_out", F.silu(linear(w, "action_time_mlp_in", x)))
    return torch.cat([linear(w, "state_proj", state).unsqueeze(0), x])


def velocity(w: Weights, images: list[Tensor], words: list[int], state: Tensor, action: Tensor, time: float) -> Tensor:
    """(H, M)."""
    language = w[f"{tiny.TOP}paligemma.lm_head.weight"][words] * math.sqrt(tiny.LANGUAGE.width)
    first = torch.cat([*(tower(w, image) for image in images), language])
    streams = [first, told(w, state, action, time)]
    count, total = len(first), len(first) + 1 + len(action)
    block = torch.tensor([0] * count + [1] + [2] * len(action))
    allowed = block.view(-1, 1) >= block
    names = [f"{tiny.TOP}paligemma.model.language_model.", f"{tiny.TOP}gemma_expert.model."]
    for i in range(tiny.LANGUAGE.depth):
        streams = layer(w, [f"{name}layers.{i}." for name in names], streams, allowed)
    assert sum(map(len, streams)) == total
    return linear(w, "action_out_proj", rms_norm(w, f"{names[1]}norm", streams[1])[1:])


def layer(w: Weights, blocks: list[str], streams: list[Tensor], allowed: Tensor) -> list[Tensor]:
    """Both transformers' layer: perceptrons apart, attention together."""
    normed = [rms_norm(w, f"{b}input_layernorm", x) for b, x in zip(blocks, streams, strict=True)]
    joint = []
    for part, count in (("q", tiny.LANGUAGE.heads), ("k", 1), ("v", 1)):
        pieces = [y @ w[f"{b}self_attn.{part}_proj.weight"].T for b, y in zip(blocks, normed, strict=True)]
        joint.append(heads(torch.cat(pieces), count))
    mixed = attention(rotated(joint[0]), rotated(joint[1]), joint[2], allowed)
    found = []
    for b, x, y in zip(blocks, streams, mixed.split([len(x) for x in streams]), strict=True):
        x = x + y @ w[f"{b}self_attn.o_proj.weight"].T
        z = rms_norm(w, f"{b}post_attention_layernorm", x)
        gate, up = (z @ w[f"{b}mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        found.append(x + (gelu(gate) * up) @ w[f"{b}mlp.down_proj.weight"].T)
    return found
