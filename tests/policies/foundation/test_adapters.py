from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from policies.foundation.adapters import LoraConfig, adapt, merged

pytest.importorskip("peft")

PARTS = {"front": ("front.",), "back": ("back",)}


def net(config: LoraConfig | None = None, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    made = nn.ModuleDict({"front": nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), "back": nn.Linear(4, 2)}).to(dtype)
    if config is not None:
        adapt(made, config, PARTS)
    return made


def run(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module["back"](module["front"](x))


def test_adapters_alone_learn_and_change_nothing_at_the_start() -> None:
    plain, adapted, x = net(), net(LoraConfig(2, 4.0, ("front", "back"))), torch.randn(5, 3)
    assert torch.equal(run(plain, x), run(adapted, x))
    learning = {name: p.shape for name, p in adapted.named_parameters() if p.requires_grad}
    assert learning == {
        "front.0.lora_A.default.weight": (2, 3),
        "front.0.lora_B.default.weight": (4, 2),
        "back.lora_A.default.weight": (2, 4),
        "back.lora_B.default.weight": (2, 2),
    }


def test_only_the_chosen_parts_get_adapters() -> None:
    adapted = net(LoraConfig(2, 4.0, ("back",)))
    assert {name.split(".")[0] for name, p in adapted.named_parameters() if p.requires_grad} == {"back"}


def test_the_merged_weight_is_the_base_and_the_scaled_product() -> None:
    adapted = net(LoraConfig(2, 6.0, ("back",)))
    with torch.no_grad():
        adapted["back"].lora_B["default"].weight.normal_()
    a, b = adapted["back"].lora_A["default"].weight, adapted["back"].lora_B["default"].weight
    torch.testing.assert_close(merged(adapted, "back.weight"), net()["back"].weight + 6 / 2 * b @ a)
    assert torch.equal(merged(adapted, "back.bias"), net()["back"].bias)
    assert torch.equal(merged(adapted, "front.0.weight"), net()["front"][0].weight)
    x = torch.randn(7, 4)
    torch.testing.assert_close(x @ merged(adapted, "back.weight").T + adapted["back"].bias, adapted["back"](x))


def test_beside_bfloat16_weights_adapters_are_float32() -> None:
    adapted = net(LoraConfig(2, 4.0, ("front", "back")), torch.bfloat16)
    types = {name: p.dtype for name, p in adapted.named_parameters()}
    assert all(dtype == (torch.float32 if "lora_" in name else torch.bfloat16) for name, dtype in types.items())
    assert run(adapted, torch.randn(5, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert merged(adapted, "back.weight").dtype == torch.bfloat16


def test_rank_0_lets_the_chosen_parts_learn_whole() -> None:
    plain = net(LoraConfig(0, 1.0, ("front",)))
    assert {name for name, p in plain.named_parameters() if p.requires_grad} == {
        f"front.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")
    }
    whole = net(LoraConfig(0, 1.0, ("front", "back")))
    assert all(p.requires_grad for p in whole.parameters()) and len(list(whole.parameters())) == 6


def test_what_learns_whole_does_so_in_float32() -> None:
    made = net(LoraConfig(0, 1.0, ("back",)), torch.bfloat16)
    assert made["back"].weight.dtype == torch.float32 and made["front"][0].weight.dtype == torch.bfloat16


def test_what_was_frozen_before_stays_so() -> None:
    made = net()
    made["front"][1].requires_grad_(False)
    adapt(made, LoraConfig(0, 1.0, ("front", "back")), PARTS)
    assert {name for name, p in made.named_parameters() if not p.requires_grad} == {"front.1.weight", "front.1.bias"}


def test_bad_settings_are_errors() -> None:
    with pytest.raises(ValueError, match=r"policy.lora.parts='font': did you mean 'front'"):
        net(LoraConfig(2, 4.0, ("font",)))
    with pytest.raises(ValueError, match=r"policy.lora.parts is empty"):
        LoraConfig(2)
    with pytest.raises(ValueError, match=r"policy.lora.rank=-1"):
        LoraConfig(-1)
    with pytest.raises(ValueError, match=r"policy.lora.alpha=0"):
        LoraConfig(1, 0, ("front",))
