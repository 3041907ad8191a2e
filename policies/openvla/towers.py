"""OpenVLA's vision towers in transformers' modules, under the names of timm.

The projector reads the output of the last block but one, without the final norm, and of the image's patches alone
(Prismatic VLMs, Karamcheti et al. 2024, arXiv 2402.07865): the last block, the norm and the pooling are not built.
A DINOv2 with registers in timm has positions for patches only, in transformers for the class token as well, which
starts at 0.

Legend: B rows; S image side in pixels; P patches; E width; D blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodied.configuration import nearest

from ..foundation.keymap import Entry, KeyMap, renamed, same, stacked

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Tower:
    """width: E.  depth: D.  hidden: of a block's perceptron.  registers: tokens beside the patches; None: SigLIP, no
    class token either.  mean, std: of the pixels, by channel.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    registers: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch: int = 14


TOWERS = {
    "vit_large_patch14_reg4_dinov2.lvd142m": Tower(1024, 24, 16, 4096, 4, *IMAGENET),
    "vit_so400m_patch14_siglip_224": Tower(1152, 27, 16, 4304, None, *CENTRED),
}
"""By the name in timm, which a published configuration gives (``timm_model_ids``)."""


def tower(name: str) -> Tower:
    """Raises ValueError for a tower that OpenVLA's checkpoints do not have."""
    if name not in TOWERS:
        raise ValueError(f"vision tower {name!r} is not known: {nearest(name, TOWERS)}")
    return TOWERS[name]


class VisionTower(nn.Module):
    """(B, 3, S, S) in [0, 1] -> (B, P, E)."""

    mean: Tensor
    std: Tensor

    def __init__(self, sizes: Tower, side: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.prefix = 0 if sizes.registers is None else 1 + sizes.registers
        self.model = _siglip(sizes, side, dtype) if sizes.registers is None else _dino(sizes, side, dtype)
        self.register_buffer("mean", torch.tensor(sizes.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(sizes.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels - self.mean) / self.std
        return self.model(x.to(self.model.dtype)).last_hidden_state[:, self.prefix :]


def _common(sizes: Tower, side: int) -> dict[str, Any]:
    return {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.depth - 1,
        "num_attention_heads": sizes.heads,
        "image_size": side,
        "patch_size": sizes.patch,
        "hidden_act": "gelu",  # exact, in both towers of timm 0.9
        "layer_norm_eps": 1e-6,
    }


def _dino(sizes: Tower, side: int, dtype: torch.dtype) -> Any:
    from transformers import AutoModel, Dinov2WithRegistersConfig

    ratio, rest = divmod(sizes.hidden, sizes.width)
    assert rest == 0
    config = Dinov2WithRegistersConfig(
        mlp_ratio=ratio, num_register_tokens=sizes.registers or 0, qkv_bias=True, **_common(sizes, side)
    )
    model = AutoModel.from_config(config, dtype=dtype)
    model.layernorm = nn.Identity()
    model.embeddings.mask_token.requires_grad_(False).zero_()  # of its pretraining; no published tensor, no use here
    return model


def _siglip(sizes: Tower, side: int, dtype: torch.dtype) -> Any:
    from transformers import AutoModel, SiglipVisionConfig

    config = SiglipVisionConfig(intermediate_size=sizes.hidden, vision_use_head=False, **_common(sizes, side))
    model = AutoModel.from_config(config, dtype=dtype)
    model.post_layernorm = nn.Identity()
    return model


# Names ----------------------------------------------------------------------------------------------------------------

BOTH = ("weight", "bias")


def tower_keys(sizes: Tower, published: str, ours: str) -> KeyMap:
    """All tensors of a tower in timm, below ``published``, and where they are in a :class:`VisionTower` ``ours``."""
    found: dict[str, Entry | None] = dict.fromkeys((f"{published}norm.{kind}" for kind in BOTH), None)
    inner = f"{ours}model."
    found |= _dino_ends(published, inner) if sizes.registers is not None else _siglip_ends(published, inner)
    names = _DINO_BLOCK if sizes.registers is not None else _SIGLIP_BLOCK
    for i in range(sizes.depth):
        block, used = f"{published}blocks.{i}.", i < sizes.depth - 1
        for name, (path, *parts) in names.items():
            entry = stacked(*(f"{inner}{path.format(i)}{part}" for part in parts))
            found[block + name] = entry if used else None
    return found


def _dino_ends(published: str, inner: str) -> dict[str, Entry | None]:
    place, start = f"{inner}embeddings.", f"{inner}embeddings.position_embeddings"
    return {
        f"{published}cls_token": Entry(
            (f"{place}cls_token", start), lambda x: (x, None), lambda own: own[0] + own[1][:, :1]
        ),
        f"{published}pos_embed": Entry((start,), _with_class, lambda own: own[0][:, 1:]),
        f"{published}reg_token": same(f"{place}register_tokens"),
        **renamed(f"{published}patch_embed.proj.", f"{place}patch_embeddings.projection.", BOTH),
    }


def _with_class(x: Tensor) -> tuple[Tensor | None, ...]:
    """(1, P, E) -> (1, 1 + P, E), with 0 for the class token."""
    return (torch.cat([torch.zeros_like(x[:, :1]), x], 1),)


def _siglip_ends(published: str, inner: str) -> dict[str, Entry | None]:
    place = f"{inner}embeddings."
    pool = [f"{part}.{kind}" for part in ("q", "kv", "proj", "norm", "mlp.fc1", "mlp.fc2") for kind in BOTH]
    return {
        f"{published}pos_embed": Entry(
            (f"{place}position_embedding.weight",), lambda x: (x.squeeze(0),), lambda own: own[0].unsqueeze(0)
        ),
        **renamed(f"{published}patch_embed.proj.", f"{place}patch_embedding.", BOTH),
        **dict.fromkeys((f"{published}attn_pool.{name}" for name in ("latent", *pool)), None),
    }


def _block(path: str, names: dict[str, Sequence[str]], scales: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Tensor of a block in timm -> (path of the block, its parts in transformers)."""
    found = {
        f"{n}.{kind}": (path, *(f"{part}.{kind}" for part in parts)) for n, parts in names.items() for kind in BOTH
    }
    return found | {name: (path, part) for name, part in scales.items()}


_DINO_BLOCK = _block(
    "encoder.layer.{}.",
    {
        "norm1": ["norm1"],
        "norm2": ["norm2"],
        "attn.qkv": [f"attention.{part}_proj" for part in ("q", "k", "v")],
        "attn.proj": ["attention.o_proj"],
        "mlp.fc1": ["mlp.fc1"],
        "mlp.fc2": ["mlp.fc2"],
    },
    {"ls1.scale_factor": "layer_scale1.lambda1", "ls2.scale_factor": "layer_scale2.lambda1"},
)
_SIGLIP_BLOCK = _block(
    "encoder.layers.{}.",
    {
        "norm1": ["layer_norm1"],
        "norm2": ["layer_norm2"],
        "attn.qkv": [f"self_attn.{part}_proj" for part in ("q", "k", "v")],
        "attn.proj": ["self_attn.out_proj"],
        "mlp.fc1": ["mlp.fc1"],
        "mlp.fc2": ["mlp.fc2"],
    },
    {},
)
