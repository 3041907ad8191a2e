"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685, sec. 4.1) by ``peft``: W x becomes W x + (a / r) B A x.

Legend: r rank; a alpha.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodied.configuration import choice, positive, whole

ADAPTER = "default"


@dataclass(frozen=True)
class LoraConfig:
    """rank: r; 0: no adapters, the parts learn whole.  alpha: a.  parts: of the network that learn, or get adapters."""

    rank: int = 32
    alpha: float = 16.0
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        whole("policy.lora.rank", self.rank, 0)
        positive("policy.lora.alpha", self.alpha)
        if not self.parts:
            raise ValueError("policy.lora.parts is empty: name at least one part that learns")


def adapt(network: nn.Module, config: LoraConfig, prefixes: Mapping[str, tuple[str, ...]]) -> None:
    """Freeze the network but for the chosen parts: they learn, or adapters of their linear layers do.

    What learns does so in float32: beside a weight in bfloat16, of 8 bits, small steps would be lost. At the start an
    adapted network says what it said before: B is 0.

    Args:
        prefixes: part -> names that its modules start with.

    Raises:
        ValueError: a part that the network does not have.
    """
    for part in config.parts:
        choice("policy.lora.parts", part, prefixes)
    chosen = tuple(prefix for part in config.parts for prefix in prefixes[part])
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(config.rank == 0 and parameter.requires_grad and name.startswith(chosen))
    if config.rank:
        _add_adapters(network, config, chosen)
    for parameter in network.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16:
            parameter.data = parameter.data.float()


def _add_adapters(network: nn.Module, config: LoraConfig, chosen: tuple[str, ...]) -> None:
    peft = _peft()
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Linear) and n.startswith(chosen)]
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=layers, init_lora_weights="gaussian"
    )
    peft.inject_adapter_in_model(settings, network, ADAPTER)


def merged(network: nn.Module, name: str) -> Tensor:
    """The parameter of this name as it was before adapters were added, with what they add."""
    path, _, leaf = name.rpartition(".")
    owner: Any = network.get_submodule(path)
    if not hasattr(owner, "base_layer"):
        return getattr(owner, leaf)
    base = getattr(owner.base_layer, leaf)
    if leaf != "weight":
        return base
    delta = owner.get_delta_weight(ADAPTER)
    return (base.to(delta.dtype) + delta).to(base.dtype)


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ValueError("policy.lora needs peft: install the extra `vla`, or set policy.lora.rank=0") from error
    return peft
