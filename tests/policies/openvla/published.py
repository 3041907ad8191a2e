"""A tiny random checkpoint in the layout of openvla/openvla-7b: timm's names, fused qkv, layer scales, two shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from policies.openvla.towers import CENTRED, IMAGENET, TOWERS, Tower

from ..foundation.tiny import random_tensors, write_json, write_shards, write_tokenizer

DINO, SIGLIP = Tower(12, 3, 2, 24, 2, *IMAGENET, patch=7), Tower(16, 3, 4, 20, None, *CENTRED, patch=7)
NAMES = {"tiny_dinov2": DINO, "tiny_siglip": SIGLIP}
SIDE, PATCHES, VOCABULARY, PADDING, BINS = 14, 4, 330, 64, 256
WIDTH, LAYERS, HEADS, HIDDEN = 24, 2, 2, 32
STATISTICS = {
    "bridge_orig": {
        "action": {"q01": [-0.5, -2.0, 0.0], "q99": [0.5, 2.0, 1.0], "mask": [True, True, False]},
    }
}
BOTH = ("weight", "bias")


def checkpoint(folder: Path, **changes: Any) -> Path:
    """Write one; changes: of ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "model_type": "openvla",
        "timm_model_ids": list(NAMES),
        "image_resize_strategy": "resize-naive",
        "image_sizes": [SIDE, SIDE],
        "pad_to_multiple_of": PADDING,
        "n_action_bins": BINS,
        "norm_stats": STATISTICS,
        "text_config": {
            "model_type": "llama",
            "vocab_size": VOCABULARY + PADDING,
            "hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": 256,
            "pad_token_id": VOCABULARY,
        },
    }
    write_json(folder / "config.json", config | changes)
    write_tokenizer(folder, ("<unk>", "<s>", "</s>"))
    write_shards(folder, tensors())
    return folder


def tensors() -> dict[str, Tensor]:
    """As published; the scales of layers are not near 0 here, so that every weight matters."""
    vision = "vision_backbone."
    shapes = _tower(DINO, f"{vision}featurizer.") | _tower(SIGLIP, f"{vision}fused_featurizer.")
    size = DINO.width + SIGLIP.width
    for layer, out, into in (("fc1", 4 * size, size), ("fc2", WIDTH, 4 * size), ("fc3", WIDTH, WIDTH)):
        shapes |= {f"projector.{layer}.weight": (out, into), f"projector.{layer}.bias": (out,)}
    return random_tensors(shapes | _llama())


def _tower(sizes: Tower, prefix: str) -> dict[str, tuple[int, ...]]:
    e, h = sizes.width, sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, PATCHES, e),
        "patch_embed.proj.weight": (e, 3, sizes.patch, sizes.patch),
        "patch_embed.proj.bias": (e,),
    }
    shapes |= {f"norm.{kind}": (e,) for kind in BOTH}
    if sizes.registers is not None:
        shapes |= {"cls_token": (1, 1, e), "reg_token": (1, sizes.registers, e)}
    else:
        layers = {"q": (e, e), "kv": (2 * e, e), "proj": (e, e), "mlp.fc1": (h, e), "mlp.fc2": (e, h)}
        shapes |= {"attn_pool.latent": (1, 1, e), "attn_pool.norm.weight": (e,), "attn_pool.norm.bias": (e,)}
        shapes |= {f"attn_pool.{name}.weight": shape for name, shape in layers.items()}
        shapes |= {f"attn_pool.{name}.bias": shape[:1] for name, shape in layers.items()}
    for i in range(sizes.depth):
        layers = {"attn.qkv": (3 * e, e), "attn.proj": (e, e), "mlp.fc1": (h, e), "mlp.fc2": (e, h)}
        shapes |= {f"blocks.{i}.{name}.weight": shape for name, shape in layers.items()}
        shapes |= {f"blocks.{i}.{name}.bias": shape[:1] for name, shape in layers.items()}
        shapes |= {f"blocks.{i}.{norm}.{kind}": (e,) for norm in ("norm1", "norm2") for kind in BOTH}
        if sizes.registers is not None:
            shapes |= {f"blocks.{i}.{scale}.scale_factor": (e,) for scale in ("ls1", "ls2")}
    return {prefix + name: shape for name, shape in shapes.items()}


def _llama() -> dict[str, tuple[int, ...]]:
    e, h, words = WIDTH, HIDDEN, VOCABULARY + PADDING
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (words, e),
        "model.norm.weight": (e,),
        "lm_head.weight": (words, e),
    }
    for i in range(LAYERS):
        block = f"model.layers.{i}."
        shapes |= {f"{block}self_attn.{part}_proj.weight": (e, e) for part in "qkvo"}
        shapes |= {f"{block}mlp.{part}_proj.weight": (h, e) for part in ("gate", "up")}
        shapes |= {f"{block}mlp.down_proj.weight": (e, h)}
        shapes |= {f"{block}{part}_layernorm.weight": (e,) for part in ("input", "post_attention")}
    return {f"language_model.{name}": shape for name, shape in shapes.items()}


def known_towers(monkeypatch: Any) -> None:
    """Make the tiny towers known for a test."""
    for name, sizes in NAMES.items():
        monkeypatch.setitem(TOWERS, name, sizes)


def image(rows: int, side: int = SIDE) -> Tensor:
    return torch.randint(0, 256, (rows, side, side, 3), dtype=torch.uint8)
