"""A published pi0 checkpoint: its settings and its tensors' names.

The layouts are those of lerobot (``lerobot/pi0_base``, every name behind ``model.``) and of openpi's own conversion to
PyTorch. Neither holds a tokenizer: PaliGemma's ``tokenizer.json`` belongs beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embodied.configuration import choice

from ..foundation.keymap import Entry, KeyMap, renamed, same
from ..foundation.shards import Shards, read_json

BOTH = ("weight", "bias")
PREFIX = "model."
PROJECTIONS = ("state_proj", "action_in_proj", "action_time_mlp_in", "action_time_mlp_out", "action_out_proj")


@dataclass(frozen=True)
class Gemma:
    """width, depth: of the transformer.  hidden: of its perceptrons.  heads: of queries.  pairs: of keys and values.

    head: numbers of each head.  words: of the vocabulary.
    """

    width: int
    depth: int
    hidden: int
    heads: int = 8
    pairs: int = 1
    head: int = 256
    words: int = 257_152


@dataclass(frozen=True)
class Siglip:
    """The vision tower: width, depth, hidden and heads as in Gemma; patch: side of a patch in pixels."""

    width: int = 1152
    depth: int = 27
    hidden: int = 4304
    heads: int = 16
    patch: int = 14


GEMMAS = {
    "gemma_2b": Gemma(2048, 18, 16_384),
    "gemma_300m": Gemma(1024, 18, 4096),
}
"""By the name in openpi, which a published configuration gives (``paligemma_variant``, ``action_expert_variant``)."""
TOWERS = {"gemma_2b": Siglip()}
"""The vision tower that a language model goes with."""


@dataclass(frozen=True)
class Published:
    """What a checkpoint says about itself. state, action: what both are padded to.  side: of the image in pixels."""

    folder: Path
    language: Gemma
    expert: Gemma
    vision: Siglip
    state: int
    action: int
    side: int

    @property
    def patches(self) -> int:
        """Tokens of an image."""
        return (self.side // self.vision.patch) ** 2


def read(folder: str | Path) -> Published:
    """Read a checkpoint's settings.

    Raises:
        ValueError: it is not pi0's, or of a size that is not known.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    kind = config.get("type", "pi0")  # openpi's has none
    if kind != "pi0" or "paligemma_variant" not in config:
        raise ValueError(
            f"{folder} holds type={kind!r}; policy.kind=pi0 needs the settings of openpi's or lerobot's pi0"
        )
    language, expert = config["paligemma_variant"], config["action_expert_variant"]
    choice("paligemma_variant", language, TOWERS)
    choice("action_expert_variant", expert, GEMMAS)
    return Published(
        folder=folder,
        language=GEMMAS[language],
        expert=GEMMAS[expert],
        vision=TOWERS[language],
        state=_first(config, "max_state_dim", "action_dim"),
        action=_first(config, "max_action_dim", "action_dim"),
        side=config.get("image_resolution", [224])[0],
    )


def _first(config: Mapping[str, Any], *names: str) -> int:
    """The setting by lerobot's or by openpi's name."""
    return next(config[name] for name in names if name in config)


def keys(published: Published, shards: Shards) -> KeyMap:
    """Every tensor that such a checkpoint holds, and where it is in a ``Pi0Network``."""
    found: dict[str, Entry | None] = {}
    for name in PROJECTIONS:
        found |= renamed(f"{name}.", f"{name}.", BOTH)
    top = "paligemma_with_expert."
    tower = f"{top}paligemma.model.vision_tower."
    nested = any(f"{tower}vision_model." in name for name in shards.files)  # it depends on the version of transformers
    found |= _vision(published.vision, f"{tower}vision_model." if nested else tower)
    found |= renamed(f"{top}paligemma.model.multi_modal_projector.linear.", "projector.", BOTH)
    found |= _gemma(published.language, f"{top}paligemma.model.language_model.", "language.")
    found |= _gemma(published.expert, f"{top}gemma_expert.model.", "expert.")
    found |= dict.fromkeys(f"{top}gemma_expert.{name}.weight" for name in ("lm_head", "model.embed_tokens"))  # no words
    prefix = PREFIX if any(name.startswith(PREFIX) for name in shards.files) else ""
    # The head and the embedding of words are one tensor; a checkpoint holds it under one name or under both.
    words = (f"{top}paligemma.model.language_model.embed_tokens.weight", f"{top}paligemma.lm_head.weight")
    used = next((name for name in words if prefix + name in shards.files), words[0])
    found |= dict.fromkeys(words, None) | {used: same("language.embed_tokens.weight")}
    return {prefix + name: entry for name, entry in found.items()}


def _vision(sizes: Siglip, published: str) -> dict[str, Entry | None]:
    found: dict[str, Entry | None] = {}
    found |= renamed(f"{published}embeddings.patch_embedding.", "vision.embeddings.patch_embedding.", BOTH)
    position = "embeddings.position_embedding.weight"
    found[published + position] = same(f"vision.{position}")
    found |= renamed(f"{published}post_layernorm.", "vision.post_layernorm.", BOTH)
    parts = (
        "layer_norm1",
        "layer_norm2",
        "mlp.fc1",
        "mlp.fc2",
        *(f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")),
    )
    for i in range(sizes.depth):
        block = f"encoder.layers.{i}."
        found |= renamed(published + block, f"vision.{block}", [f"{part}.{kind}" for part in parts for kind in BOTH])
    return found


def _gemma(sizes: Gemma, published: str, ours: str) -> dict[str, Entry | None]:
    found: dict[str, Entry | None] = {f"{published}norm.weight": same(f"{ours}norm.weight")}
    attention = [f"self_attn.{part}_proj.weight" for part in "qkvo"]
    perceptron = [f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")]
    norms = [f"{part}_layernorm.weight" for part in ("input", "post_attention")]
    for i in range(sizes.depth):
        found |= renamed(f"{published}layers.{i}.", f"{ours}layers.{i}.", [*attention, *perceptron, *norms])
    return found
