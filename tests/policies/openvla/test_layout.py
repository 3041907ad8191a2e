from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policies.foundation import keymap
from policies.openvla import layout
from policies.openvla.network import OpenVLANetwork
from policies.openvla.towers import TOWERS, tower

from ..foundation.tiny import write_json
from . import published as tiny


def network(folder: Path) -> OpenVLANetwork:
    found = layout.read(folder)
    made = OpenVLANetwork(found, 1, torch.float32)
    keymap.load(made, layout.open_weights(found), layout.keys(found))
    return made


@pytest.fixture
def own(weights: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may change."""
    return Path(shutil.copytree(weights, tmp_path / "own"))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace, add or (None) remove tensors, whichever file holds them. Names with __ for dots."""
    for name, x in tensors.items():
        for path in sorted(folder.glob("*.safetensors")):
            held, name = load_file(str(path)), name.replace("__", ".")
            if name in held or (x is not None and name not in layout.Shards(folder).files):
                held = {k: v for k, v in held.items() if k != name} | ({} if x is None else {name: x})
                save_file(held, str(path), metadata={"format": "pt"})
                index = dict(layout.read_json(folder / "model.safetensors.index.json"))
                files = {k: v for k, v in index["weight_map"].items() if k != name}
                index["weight_map"] = files | ({} if x is None else {name: path.name})
                write_json(folder / "model.safetensors.index.json", index)
                break


def test_every_published_tensor_is_known_and_every_parameter_is_filled(weights: Path) -> None:
    found = layout.read(weights)
    keys, made = layout.keys(found), OpenVLANetwork(found, 1, torch.float32)
    assert set(tiny.tensors()) == {name for name in keys if not name.endswith("inv_freq")}
    filled = {name for entry in keys.values() if entry for name in entry.names}
    assert {name for name, _ in made.named_parameters()} - filled == {"dino.model.embeddings.mask_token"}


def test_what_is_left_out_is_behind_the_features_that_are_read(weights: Path) -> None:
    unused = {name for name, entry in layout.keys(layout.read(weights)).items() if entry is None}
    tower_ends = ("blocks.2.", "norm.", "attn_pool.")
    assert all(any(f"featurizer.{end}" in name for end in tower_ends) or name.endswith("inv_freq") for name in unused)


def test_weights_arrive_where_they_belong(weights: Path) -> None:
    made, w = network(weights), tiny.tensors()
    qkv = w["vision_backbone.featurizer.blocks.1.attn.qkv.weight"]
    attention = made.dino.model.encoder.layer[1].attention
    parts = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    assert torch.equal(parts, qkv)
    positions = made.dino.model.embeddings.position_embeddings
    assert torch.equal(positions[:, 1:], w["vision_backbone.featurizer.pos_embed"]) and not positions[:, 0].any()
    assert torch.equal(made.language.lm_head.weight, w["language_model.lm_head.weight"])


def test_the_published_sizes_are_those_of_the_7b() -> None:
    dino, siglip = TOWERS["vit_large_patch14_reg4_dinov2.lvd142m"], TOWERS["vit_so400m_patch14_siglip_224"]
    assert (dino.width + siglip.width, dino.depth, siglip.depth) == (2176, 24, 27)


def test_weights_that_rl4vla_wrote_may_hold_its_critic(own: Path) -> None:
    change(own, value_head__head_l1__weight=torch.ones(2, 2))
    network(own)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"projector__fc1__bias": None}, "projector.fc1.bias is missing"),
        ({"projector__fc1__bias": torch.ones(3)}, r"projector.fc1.bias is \(3,\), not \(112,\)"),
        ({"vision_backbone__featurizer__blocks__0__attn__qkv__bias": torch.ones(33)}, r"\(33,\), not \(36,\)"),
        ({"projector__fc4__bias": torch.ones(3)}, "projector.fc4.bias is not known"),
        ({"action_head__model__fc1__weight": torch.ones(3)}, "token head is untrained"),
        ({"model__proprio_projector__fc1__weight": torch.ones(3)}, "measurements among its inputs"),
    ],
)
def test_wrong_tensors_are_errors_that_name_them(tensors: dict[str, Any], message: str, own: Path) -> None:
    change(own, **tensors)
    with pytest.raises(ValueError, match=message):
        network(own)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("action_head--150000_checkpoint.pt", "holds action_head--150000_checkpoint.pt: .* token head is untrained"),
        ("noisy_action_projector--50000_checkpoint.pt", "diffusion head"),
        ("proprio_projector--150000_checkpoint.pt", "measurements among its inputs"),
        ("vision_backbone--100000_checkpoint.pt", "FiLM"),
    ],
)
def test_a_checkpoint_of_a_regression_head_is_refused(file: str, message: str, own: Path) -> None:
    (own / file).touch()
    with pytest.raises(ValueError, match=message):
        layout.read(own)


def test_statistics_of_fine_tuning_join_the_published_ones(own: Path) -> None:
    assert set(layout.read(own).statistics) == {"bridge_orig"}
    write_json(own / "dataset_statistics.json", {"mine": tiny.STATISTICS["bridge_orig"]})
    assert set(layout.read(own).statistics) == {"bridge_orig", "mine"}


def test_other_checkpoints_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model_type='llava'; policy.kind=openvla needs 'openvla'"):
        layout.read(tiny.checkpoint(tmp_path / "a", model_type="llava"))
    with pytest.raises(ValueError, match=r"resize-naive"):
        layout.read(tiny.checkpoint(tmp_path / "b", image_resize_strategy="letterbox"))
    with pytest.raises(ValueError, match=r"vision tower 'tiny_clip' is not known"):
        layout.read(tiny.checkpoint(tmp_path / "c", timm_model_ids=["tiny_dinov2", "tiny_clip"]))
    with pytest.raises(ValueError, match=r"cannot read .*config.json"):
        layout.read(tmp_path)
    with pytest.raises(ValueError, match=r"valid: "):
        tower("none")
