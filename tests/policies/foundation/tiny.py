"""What tiny published checkpoints are made of: a tokenizer of single characters, and random tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

CHARACTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:?.,\n"


def write_tokenizer(folder: Path, special: tuple[str, ...]) -> dict[str, int]:
    """A ``tokenizer.json`` that normalises as Llama's and PaliGemma's do; its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers

    vocabulary = {piece: i for i, piece in enumerate([*special, *CHARACTERS])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(folder / "tokenizer.json"))
    return vocabulary


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Normal numbers of a size that keeps a network lively; norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    found = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {name: x + 1.0 if "norm" in name and name.endswith("weight") else x for name, x in found.items()}


def write_shards(folder: Path, tensors: dict[str, Tensor], parts: int = 2) -> None:
    """The tensors in several files with an index."""
    names, index = sorted(tensors), dict[str, str]()
    for i in range(parts):
        file = f"model-{i + 1:05d}-of-{parts:05d}.safetensors"
        own = {name: tensors[name].contiguous() for name in names[i::parts]}
        save_file(own, str(folder / file), metadata={"format": "pt"})
        index |= dict.fromkeys(own, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data), encoding="utf-8")
