"""Weights that do not learn lie in the published checkpoint: ours hold, and copies repeat, the others alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class PartlyFrozen(nn.Module):
    """``state_dict`` and ``load_state_dict`` know the learning parameters alone; deep copies share the frozen ones.

    frozen: names of the parameters that did not learn when :meth:`settle` was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen: frozenset[str] = frozenset()
        self.register_state_dict_post_hook(_without_frozen)
        self.register_load_state_dict_pre_hook(_with_frozen)

    def settle(self) -> None:
        """Note which parameters learn; called once, when that is decided."""
        self.frozen = frozenset(name for name, p in self.named_parameters() if not p.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> PartlyFrozen:
        memo.update({id(p): p for name, p in self.named_parameters() if name in self.frozen})
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(self.__dict__, memo))
        return copied


def _without_frozen(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    for name in getattr(module, "frozen", ()):
        state.pop(prefix + name, None)


def _with_frozen(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Frozen parameters are what they are, unless the state holds them."""
    own: Mapping[str, Tensor] = dict(module.named_parameters())
    for name in getattr(module, "frozen", ()):
        state.setdefault(prefix + name, own[name])
