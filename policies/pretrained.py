"""Weights learnt by imitation go into a policy that reinforcement learning updates."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn


def load_parts(module: nn.Module, state: Mapping[str, Tensor], parts: Collection[str]) -> None:
    """Load the named children of a module from another policy's state; the other children stay as they are.

    Args:
        parts: names of the children that both policies share, e.g. ``network`` and ``encoder``.

    Raises:
        ValueError: a tensor of these parts is missing, unknown or of another shape; nothing has been loaded then.
    """
    wanted = _below(module.state_dict(), parts)
    found = _below(state, parts)
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} is not known here" for name in found if name not in wanted]
    faults += [
        f"{name} is {tuple(x.shape)}, not {tuple(wanted[name].shape)}"
        for name, x in found.items()
        if name in wanted and x.shape != wanted[name].shape
    ]
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise ValueError(
            f"these weights do not fit: {'; '.join(faults[:3])}{more}; "
            "the pretrained policy must have the same network, process and task"
        )
    module.load_state_dict(found, strict=False)


def _below(state: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
    return {name: x for name, x in state.items() if name.partition(".")[0] in parts}
