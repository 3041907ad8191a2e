from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from policies.foundation import keymap
from policies.foundation.shards import Shards
from policies.pi0 import layout
from policies.pi0.layout import GEMMAS, TOWERS
from policies.pi0.network import Pi0Network

from ..foundation.tiny import write_json, write_shards
from . import published as tiny

WORDS = f"{tiny.TOP}paligemma.model.language_model.embed_tokens.weight"
HEAD = f"{tiny.TOP}paligemma.lm_head.weight"


def network(folder: Path) -> Pi0Network:
    found, shards = layout.read(folder), Shards(folder)
    made = Pi0Network(found, torch.float32)
    keymap.load(made, shards, layout.keys(found, shards))
    return made


def rewritten(source: Path, target: Path, prefix: str = "model.", **changes: torch.Tensor | None) -> Path:
    """A checkpoint with tensors replaced, added, or (None) left out. Names with __ for dots."""
    tensors = tiny.tensors() | {name.replace("__", "."): x for name, x in changes.items()}
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    write_shards(target, {prefix + name: x for name, x in tensors.items() if x is not None}, 3)
    return target


@pytest.mark.parametrize("kind", ["lerobot", "openpi"])
def test_every_published_tensor_is_known_and_every_parameter_is_filled(kind: str, tmp_path: Path) -> None:
    found, shards = layout.read(tiny.checkpoint(tmp_path, kind)), Shards(tmp_path)
    keys, made = layout.keys(found, shards), Pi0Network(found, torch.float32)
    assert set(shards.files) <= set(keys)
    unused = {name.removeprefix("model.") for name, entry in keys.items() if entry is None}
    assert unused == {f"{tiny.TOP}gemma_expert.{name}.weight" for name in ("lm_head", "model.embed_tokens")} | {WORDS}
    filled = [name for entry in keys.values() if entry for name in entry.names]
    assert sorted(filled) == sorted(name for name, _ in made.named_parameters())


def test_weights_arrive_where_they_belong(weights: Path) -> None:
    made, w = network(weights), tiny.tensors()
    assert torch.equal(made.language.embed_tokens.weight, w[HEAD])
    assert torch.equal(
        made.expert.layers[1].self_attn.q_proj.weight,
        w[f"{tiny.TOP}gemma_expert.model.layers.1.self_attn.q_proj.weight"],
    )
    assert torch.equal(made.projector.bias, w[f"{tiny.TOP}paligemma.model.multi_modal_projector.linear.bias"])


def test_the_embedding_of_words_may_be_published_under_either_name_or_both(weights: Path, tmp_path: Path) -> None:
    words = torch.randn(tiny.LANGUAGE.words, tiny.LANGUAGE.width)
    alone = {HEAD.replace(".", "__"): None, WORDS.replace(".", "__"): words}
    both = {WORDS.replace(".", "__"): words}
    for name, changes in (("alone", alone), ("both", both)):
        made = network(rewritten(weights, tmp_path / name, **changes))
        assert torch.equal(made.language.embed_tokens.weight, words)


def test_the_vision_tower_may_lie_one_level_higher(weights: Path, tmp_path: Path) -> None:
    tensors = {f"model.{name.replace('vision_model.', '')}": x for name, x in tiny.tensors().items()}
    shutil.copytree(weights, tmp_path / "own", ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    write_shards(tmp_path / "own", tensors)
    assert torch.equal(
        network(tmp_path / "own").vision.post_layernorm.bias, network(weights).vision.post_layernorm.bias
    )


def test_the_published_sizes_are_those_of_pi0() -> None:
    language, expert, vision = GEMMAS["gemma_2b"], GEMMAS["gemma_300m"], TOWERS["gemma_2b"]
    assert (language.depth, language.heads, language.pairs, language.head) == (
        expert.depth, expert.heads, expert.pairs, expert.head,
    )  # fmt: skip
    assert (language.width, expert.width, vision.width) == (2048, 1024, 1152)


def test_wrong_tensors_are_errors_that_name_them(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model.state_proj.bias is missing"):
        network(rewritten(weights, tmp_path / "a", state_proj__bias=None))
    with pytest.raises(ValueError, match=r"model.state_proj.weight is \(16, 32\), not \(16, 9\)"):
        network(rewritten(weights, tmp_path / "b", state_proj__weight=torch.ones(16, 32)))
    with pytest.raises(ValueError, match=r"model.time_mlp_in.bias is not known"):  # pi0.5's
        network(rewritten(weights, tmp_path / "c", time_mlp_in__bias=torch.ones(16)))


def test_other_checkpoints_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds type='pi05'"):
        layout.read(tiny.checkpoint(tmp_path / "a", type="pi05"))
    with pytest.raises(ValueError, match=r"paligemma_variant='gemma_7b': did you mean 'gemma_2b'"):
        layout.read(tiny.checkpoint(tmp_path / "b", paligemma_variant="gemma_7b"))
    write_json(tmp_path / "config.json", {"model_type": "llama"})
    with pytest.raises(ValueError, match=r"needs the settings of openpi's or lerobot's pi0"):
        layout.read(tmp_path)
