"""An auxiliary task: to say, from what the policy sees, what only the group ``critic`` is told.

Where things are is in every frame, but in few does the action depend on it: once the hand is there, its own position
says enough. Cloned actions alone teach an untrained eye slowly; positions beside them teach it in every frame: the
auxiliary outputs of James, Davison and Johns 2017, "Transferring End-to-End Visuomotor Control from Simulation to Real
World for a Multi-Stage Task", arXiv 1707.02267. In PPO every decision that counts teaches it as well, if that is
asked for (auxiliary losses beside the policy gradient: Jaderberg et al. 2016, "Reinforcement Learning with
Unsupervised Auxiliary Tasks", arXiv 1611.05397). A policy that acts asks nobody.

Legend: B rows; E width; P privileged elements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from embodied.types import CRITIC_GROUP, Obs, TaskSpec

from .trunk import MEASURED, Context, Trunk


def hidden_elements(spec: TaskSpec) -> Tensor:
    """(P,) int64: where, in the group ``critic``, the terms stand that the policy does not see; empty without one."""
    group = spec.obs.get(CRITIC_GROUP)
    if group is None:
        return torch.zeros(0, dtype=torch.long)
    seen = {term.name for term in spec.obs[MEASURED].terms}
    index, start = list[int](), 0
    for term in group.terms:
        index += [] if term.name in seen else range(start, start + term.size)
        start += term.size
    return torch.tensor(index, dtype=torch.long)


class PrivilegedHead(nn.Module):
    """A query of its own on the trunk, whose answer is compared with the privileged elements."""

    elements: Tensor

    def __init__(self, spec: TaskSpec, width: int) -> None:
        super().__init__()
        self.register_buffer("elements", hidden_elements(spec), persistent=False)
        self.query = nn.Parameter(torch.randn(1, width))
        self.out = nn.Linear(width, len(self.elements))

    def loss(self, obs: Obs, trunk: Trunk, context: Context) -> Tensor:
        """(B,): mean Huber loss over the elements, each in the normaliser's units.

        Raises:
            ValueError: the observations lack the group.
        """
        if CRITIC_GROUP not in obs:
            raise ValueError(
                f"policy.privileged_weight: the data have no observation group {CRITIC_GROUP!r} to learn from; "
                "set it to 0"
            )
        found = self.out(trunk.decode(self.query.expand(context.rows, 1, -1), context)[0]).squeeze(1)
        target = obs[CRITIC_GROUP].flatten(1)[:, self.elements].to(found.dtype)
        return functional.smooth_l1_loss(found, target, reduction="none", beta=0.02).mean(-1)
