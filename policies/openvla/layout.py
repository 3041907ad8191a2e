"""A published OpenVLA checkpoint: its settings, its tensors' names, and what it must not hold.

The layout is that of ``openvla/openvla-7b``: ``config.json``, ``tokenizer.json``, safetensors, and after fine-tuning
``dataset_statistics.json``.

Legend: V words of the vocabulary without padding; N action tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..foundation.keymap import Entry, KeyMap, renamed
from ..foundation.shards import Shards, read_json
from .towers import BOTH, Tower, tower, tower_keys

HEADS = {
    "action_head": "a regression or diffusion head, so that its token head is untrained and RL would start at 0 %",
    "noisy_action_projector": "a diffusion head, so that its token head is untrained and RL would start at 0 %",
    "proprio_projector": "measurements among its inputs, which this policy does not show it",
    "vision_backbone--": "language in its vision towers (FiLM), which this network does not have",
}
"""Begin the names of files that OpenVLA-OFT writes beside the weights, or of tensors: what they were trained with."""
CRITIC = "value_head."
"""Begins the names of a critic's tensors in weights that RL4VLA wrote; ours starts anew."""


@dataclass(frozen=True)
class Published:
    """What a checkpoint says about itself.

    text: of the language model, keyword arguments of ``LlamaConfig``.  dino, siglip: the towers.  side: of the image in
    pixels.  vocabulary: V.  bins: N.  statistics: of actions, by data set.
    """

    folder: Path
    text: Mapping[str, Any]
    dino: Tower
    siglip: Tower
    side: int
    vocabulary: int
    bins: int
    statistics: Mapping[str, Any]


def read(folder: str | Path) -> Published:
    """Read a checkpoint's settings.

    Raises:
        ValueError: it is not OpenVLA's, or has a head or inputs that this policy has not.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    if config.get("model_type") != "openvla":
        raise ValueError(f"{folder} holds model_type={config.get('model_type')!r}; policy.kind=openvla needs 'openvla'")
    if len(config["timm_model_ids"]) != 2 or config["image_resize_strategy"] != "resize-naive":
        raise ValueError(f"{folder}: two vision towers and image_resize_strategy='resize-naive' are what is known here")
    _refuse(folder, [path.name for path in folder.iterdir()])
    text = {key: value for key, value in config["text_config"].items() if key != "model_type"}
    more = folder / "dataset_statistics.json"
    statistics = dict(config.get("norm_stats") or {}) | (dict(read_json(more)) if more.exists() else {})
    return Published(
        folder=folder,
        text=text,
        dino=tower(config["timm_model_ids"][0]),
        siglip=tower(config["timm_model_ids"][1]),
        side=config["image_sizes"][0],
        vocabulary=text["vocab_size"] - config["pad_to_multiple_of"],
        bins=config["n_action_bins"],
        statistics=statistics,
    )


def _refuse(folder: Path, names: list[str]) -> None:
    for name in names:
        for start, what in HEADS.items():
            if name.removeprefix("model.").startswith(start):
                raise ValueError(
                    f"{folder} holds {name}: it was trained with {what}. Take a checkpoint that was fine-tuned on "
                    "action tokens, or clone demonstrations into openvla-7b first"
                )


def open_weights(published: Published) -> Shards:
    """The checkpoint's tensors.

    Raises:
        ValueError: they are of a head or of inputs that this policy has not.
    """
    shards = Shards(published.folder)
    _refuse(published.folder, sorted(shards.files))
    shards.files = {name: file for name, file in shards.files.items() if not name.startswith(CRITIC)}
    return shards


def keys(published: Published) -> KeyMap:
    """Every tensor that such a checkpoint holds, and where it is in an ``OpenVLANetwork``."""
    found: dict[str, Entry | None] = {}
    found |= tower_keys(published.dino, "vision_backbone.featurizer.", "dino.")
    found |= tower_keys(published.siglip, "vision_backbone.fused_featurizer.", "siglip.")
    for layer in ("fc1", "fc2", "fc3"):
        found |= renamed(f"projector.{layer}.", f"projector.{layer}.", BOTH)
    ends = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    found |= renamed("language_model.", "language.", ends)
    for i in range(_layers(published)):
        block = f"model.layers.{i}."
        found |= renamed(f"language_model.{block}", f"language.{block}", _LLAMA_BLOCK)
        # Older versions of transformers stored the frequencies of rotary positions, too.
        found[f"language_model.{block}self_attn.rotary_emb.inv_freq"] = None
    return found


def _layers(published: Published) -> int:
    """32 is what ``LlamaConfig`` means where a configuration says nothing, as that of openvla-7b does."""
    return published.text.get("num_hidden_layers", 32)


_LLAMA_BLOCK = (
    *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
    *(f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    *(f"{part}_layernorm.weight" for part in ("input", "post_attention")),
)
