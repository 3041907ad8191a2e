"""Adam over groups of parameters that lie in one piece of memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from . import distributed


class FlatAdam:
    """Adam (Kingma and Ba 2015) over groups of parameters, each laid out in one vector per type and device.

    The parameters and their gradients become views of these vectors, so that clearing, averaging over ranks, clipping
    and stepping take a few calls each, however many tensors a policy has: with small minibatches these calls are what
    an update costs. A parameter that took no part in a loss has a gradient of zero.

    groups: each is clipped by its own norm and has its own learning rate; a group may be empty.
    rates: the learning rates of the last step, one a group.

    Raises:
        ValueError: a parameter stands in the groups twice.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]], lr: float, eps: float = 1e-8) -> None:
        everything = [id(parameter) for group in groups for parameter in group]
        if len(set(everything)) < len(everything):
            raise ValueError("a parameter stands in the optimiser's groups twice")
        starts = list(accumulate((len(group) for group in groups), initial=0))
        self.groups = [_blocks(group, start) for group, start in zip(groups, starts, strict=False)]
        self.blocks = [block for group in self.groups for block in group]
        self.rates = [lr] * len(self.groups)
        self._adam = torch.optim.Adam(
            [{"params": [block.flat for block in group]} for group in self.groups if group], lr=lr, eps=eps, fused=True
        )

    def __getstate__(self) -> Any:
        # A copy's parameters would be views of one vector, and its steps be those of another.
        raise TypeError("an optimiser cannot be copied: make one for the copied parameters and load its state_dict")

    def zero_grad(self) -> None:
        """Begin a new gradient; takes back parameters whose memory or gradient was replaced meanwhile.

        Raises:
            RuntimeError: a parameter was moved, converted or frozen since this was made.
        """
        for block in self.blocks:
            block.adopt()

    def average(self, statistics: Tensor) -> Tensor:
        """Average the gradients over ranks, and a vector of statistics with them, which is returned."""
        return distributed.mean_gradients_([block.flat for block in self.blocks], statistics)

    def leave_out(self, group: int) -> None:
        """Do not step a group this time; its gradient counts as zero."""
        for block in self.groups[group]:
            block.flat.grad = None

    def clip(self, max_norm: float) -> list[Tensor]:
        """Scale the gradient of each group down to a norm of at most ``max_norm``; the norms before, scalars."""
        return [_clip([block.flat for block in group], max_norm, self.blocks[0].flat) for group in self.groups]

    def step(self, rates: Sequence[float]) -> None:
        """One step at these learning rates, one a group."""
        self.rates = list(rates)
        used = [rate for rate, group in zip(rates, self.groups, strict=True) if group]
        for settings, rate in zip(self._adam.param_groups, used, strict=True):
            settings["lr"] = rate
        self._adam.step()

    def state_dict(self) -> dict[str, Any]:
        """In the form of ``torch.optim.Adam`` over all parameters in order; as there, moments are not copied."""
        state = {}
        for block in self.blocks:
            moments = self._adam.state.get(block.flat)
            if moments:
                parts = {name: block.split(moments[name]) for name in _MOMENTS}
                for i, index in enumerate(block.index):
                    state[index] = {"step": moments["step"].clone()} | {k: x[i] for k, x in parts.items()}
        groups = [dict(group) for group in self._adam.param_groups]
        for settings, blocks in zip(groups, (group for group in self.groups if group), strict=True):
            settings["params"] = sorted(index for block in blocks for index in block.index)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, or from that of a ``torch.optim.Adam`` over the same parameters.

        Raises:
            ValueError: it is of other parameters.
        """
        theirs = [len(settings["params"]) for settings in state["param_groups"]]
        ours = [sum(len(block.index) for block in group) for group in self.groups if group]
        if theirs != ours:
            raise ValueError(f"the optimiser's state is of {theirs} parameters a group, not of {ours}")
        found = {number: block.joined(state["state"]) for number, block in enumerate(self.blocks)}
        moments = {number: x for number, x in found.items() if x}
        self._adam.load_state_dict({"state": moments, "param_groups": self._adam.state_dict()["param_groups"]})


_MOMENTS = ("exp_avg", "exp_avg_sq")
ALIGNMENT = 16
"""Elements: every parameter begins at a multiple of so many, where matrix products are fast."""


class _Block:
    """Parameters of one type on one device, and the vector that holds them, with gaps of zeros between.

    index: their numbers among all parameters of the optimiser.
    """

    def __init__(self, parameters: list[nn.Parameter], index: list[int]) -> None:
        self.parameters, self.index = parameters, index
        self._strides = [torch.empty_like(p).stride() for p in parameters]  # channels_last stays as it is
        *self._starts, length = accumulate((-(-p.numel() // ALIGNMENT) * ALIGNMENT for p in parameters), initial=0)
        self.flat = nn.Parameter(parameters[0].detach().new_zeros(length))
        self._gradient = torch.zeros_like(self.flat)
        self._places, self._gradients = self.split(self.flat.detach()), self.split(self._gradient)
        self.adopt()

    def split(self, vector: Tensor) -> list[Tensor]:
        """Views of a vector, in the parameters' shapes and layouts."""
        shapes = zip(self.parameters, self._strides, self._starts, strict=True)
        return [vector.as_strided(p.shape, stride, vector.storage_offset() + start) for p, stride, start in shapes]

    def joined(self, state: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The moments of the vector from those of its parameters; none where no parameter has any."""
        known = [state.get(index) for index in self.index]
        steps = [moments["step"] for moments in known if moments]
        if not steps:
            return {}
        vectors = {name: torch.zeros_like(self.flat) for name in _MOMENTS}
        for name, vector in vectors.items():
            for place, moments in zip(self.split(vector), known, strict=True):
                if moments:
                    if moments[name].shape != place.shape:
                        shapes = f"{tuple(moments[name].shape)}, not {tuple(place.shape)}"
                        raise ValueError(f"the optimiser's state is of other parameters: a moment has shape {shapes}")
                    place.copy_(moments[name])
        return {"step": max(steps, key=float), **vectors}

    def adopt(self) -> None:
        """Let the parameters be views of the vector, with gradients of zero."""
        for parameter, place, gradient in zip(self.parameters, self._places, self._gradients, strict=True):
            if parameter.data_ptr() != place.data_ptr():
                if (parameter.device, parameter.dtype) != (place.device, place.dtype):
                    raise RuntimeError("a parameter was moved or converted after its optimiser had been made")
                parameter.data = place.copy_(parameter.detach())
            if not parameter.requires_grad:
                raise RuntimeError("a parameter was frozen after its optimiser had been made")
            parameter.grad = gradient
        self.flat.grad = self._gradient.zero_()


def _blocks(parameters: Sequence[nn.Parameter], start: int) -> list[_Block]:
    kinds: dict[Any, list[tuple[int, nn.Parameter]]] = {}
    for index, parameter in enumerate(parameters, start):
        kinds.setdefault((parameter.dtype, parameter.device), []).append((index, parameter))
    return [_Block([p for _, p in kind], [index for index, _ in kind]) for kind in kinds.values()]


def _clip(vectors: list[nn.Parameter], max_norm: float, like: Tensor) -> Tensor:
    gradients = [vector.grad for vector in vectors if vector.grad is not None]
    if not gradients:
        return like.new_zeros(())
    norms = [torch.linalg.vector_norm(gradient).float() for gradient in gradients]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack([x.to(norms[0]) for x in norms]))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.to(gradient.device))
    return norm
