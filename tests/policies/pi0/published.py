"""A tiny random checkpoint in the layouts of lerobot/pi0_base and of openpi's conversion to PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from policies.pi0.layout import GEMMAS, TOWERS, Gemma, Siglip

from ..foundation.tiny import random_tensors, write_json, write_shards, write_tokenizer

LANGUAGE = Gemma(24, 3, 32, heads=4, pairs=1, head=8, words=80)
EXPERT = Gemma(16, 3, 20, heads=4, pairs=1, head=8, words=80)
VISION = Siglip(12, 2, 20, 3, patch=7)
SIDE, PATCHES, STATE, ACTION = 14, 4, 9, 6
TOP = "paligemma_with_expert."
SPECIAL = ("<pad>", "<unk>", "<bos>")
BOTH = ("weight", "bias")


def checkpoint(folder: Path, layout: str = "lerobot", **changes: Any) -> Path:
    """Write one; changes: of ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"paligemma_variant": "tiny_2b", "action_expert_variant": "tiny_300m"}
    lerobot = {"type": "pi0", "max_state_dim": STATE, "max_action_dim": ACTION, "chunk_size": 50}
    openpi = {"action_dim": STATE, "action_horizon": 50, "precision": "float32"}
    sizes: dict[str, Any] = lerobot if layout == "lerobot" else openpi
    write_json(folder / "config.json", names | sizes | {"image_resolution": [SIDE, SIDE]} | changes)
    write_tokenizer(folder, SPECIAL)
    prefix = "model." if layout == "lerobot" else ""
    action = ACTION if layout == "lerobot" else STATE
    write_shards(folder, {prefix + name: x for name, x in tensors(action).items()})
    return folder


def tensors(action: int = ACTION) -> dict[str, Tensor]:
    """As published, without the prefix."""
    width = EXPERT.width
    shapes: dict[str, tuple[int, ...]] = {
        "state_proj.weight": (width, STATE),
        "action_in_proj.weight": (width, action),
        "action_time_mlp_in.weight": (width, 2 * width),
        "action_time_mlp_out.weight": (width, width),
        "action_out_proj.weight": (action, width),
        f"{TOP}paligemma.model.multi_modal_projector.linear.weight": (LANGUAGE.width, VISION.width),
    }
    shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    shapes |= _vision() | _gemma(LANGUAGE, f"{TOP}paligemma.model.language_model.")
    shapes |= _gemma(EXPERT, f"{TOP}gemma_expert.model.")
    shapes[f"{TOP}paligemma.lm_head.weight"] = (LANGUAGE.words, LANGUAGE.width)
    shapes[f"{TOP}gemma_expert.lm_head.weight"] = (EXPERT.words, EXPERT.width)
    # Gemma's norms multiply by 1 + weight.
    return {n: x - 1 if "layernorm.weight" in n and TOP in n and "vision" not in n else x for n, x in _random(shapes)}


def _random(shapes: dict[str, tuple[int, ...]]) -> Any:
    return random_tensors(shapes).items()


def _vision() -> dict[str, tuple[int, ...]]:
    e, h, p = VISION.width, VISION.hidden, f"{TOP}paligemma.model.vision_tower.vision_model."
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.patch_embedding.weight": (e, 3, VISION.patch, VISION.patch),
        "embeddings.patch_embedding.bias": (e,),
        "embeddings.position_embedding.weight": (PATCHES, e),
        **{f"post_layernorm.{kind}": (e,) for kind in BOTH},
    }
    for i in range(VISION.depth):
        block = f"encoder.layers.{i}."
        layers = {"mlp.fc1": (h, e), "mlp.fc2": (e, h)} | {
            f"self_attn.{x}_proj": (e, e) for x in ("q", "k", "v", "out")
        }
        shapes |= {f"{block}{name}.weight": shape for name, shape in layers.items()}
        shapes |= {f"{block}{name}.bias": shape[:1] for name, shape in layers.items()}
        shapes |= {f"{block}{norm}.{kind}": (e,) for norm in ("layer_norm1", "layer_norm2") for kind in BOTH}
    return {p + name: shape for name, shape in shapes.items()}


def _gemma(sizes: Gemma, prefix: str) -> dict[str, tuple[int, ...]]:
    e, h, q, kv = sizes.width, sizes.hidden, sizes.heads * sizes.head, sizes.pairs * sizes.head
    shapes: dict[str, tuple[int, ...]] = {"norm.weight": (e,)}
    for i in range(sizes.depth):
        block = f"layers.{i}."
        shapes |= {f"{block}self_attn.{x}_proj.weight": (n, e) for x, n in (("q", q), ("k", kv), ("v", kv))}
        shapes |= {f"{block}self_attn.o_proj.weight": (e, q), f"{block}mlp.down_proj.weight": (e, h)}
        shapes |= {f"{block}mlp.{x}_proj.weight": (h, e) for x in ("gate", "up")}
        shapes |= {f"{block}{x}_layernorm.weight": (e,) for x in ("input", "post_attention")}
    return {prefix + name: shape for name, shape in shapes.items()}


def known_sizes(monkeypatch: Any) -> None:
    """Make the tiny sizes known for a test."""
    monkeypatch.setitem(GEMMAS, "tiny_2b", LANGUAGE)
    monkeypatch.setitem(GEMMAS, "tiny_300m", EXPERT)
    monkeypatch.setitem(TOWERS, "tiny_2b", VISION)
