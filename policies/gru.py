"""A Gaussian actor with a gated recurrent unit (Cho et al. 2014), and an asymmetric critic without memory.

Legend: B rows; T steps; b rows of a minibatch; H action chunk; A action size; F = 1 likelihood factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from embodied.configuration import choice
from embodied.types import CRITIC_GROUP, Decision, Evaluation, Obs, TaskSpec

from .distributions import StateIndependentStd, gaussian_entropy, gaussian_log_prob
from .mlp import group_size
from .networks import ACTIVATIONS, INITS, flat, mlp
from .pretrained import load_parts


@dataclass(frozen=True)
class GRUConfig:
    """memory_size: of the recurrent state.  hidden: layer widths after it.  critic_hidden: of the critic.

    activation, init, init_std, min_std: as in ``policies.mlp.MLPConfig``.
    """

    memory_size: int = 128
    hidden: tuple[int, ...] = (128, 64)
    critic_hidden: tuple[int, ...] = (128, 128, 64)
    activation: str = "elu"
    init: str = "orthogonal"
    init_std: float = 1.0
    min_std: float = 0.0

    def __post_init__(self) -> None:
        choice("policy.activation", self.activation, list(ACTIVATIONS))
        choice("policy.init", self.init, INITS)
        if self.memory_size < 1:
            raise ValueError(f"policy.memory_size={self.memory_size}: must be at least 1")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "critic_hidden", tuple(self.critic_hidden))


class GRUPolicy(nn.Module):
    """Acts on ``obs["policy"]`` and its memory ``{"h": (B, memory_size)}``, which starts each episode at 0.

    Evaluation runs over whole sequences, from the memory stored at their first step, and clears it where an episode
    starts: backpropagation through time, truncated at the rollout.
    """

    recurrent = True
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: GRUConfig | None = None) -> None:
        super().__init__()
        config = config or GRUConfig()
        self.chunk = (spec.action.chunk, spec.action.size)
        self.critic_group = CRITIC_GROUP if CRITIC_GROUP in spec.obs else "policy"
        self.cell = nn.GRUCell(group_size(spec, "policy"), config.memory_size)
        if config.init == "orthogonal":
            _orthogonal_gates(self.cell)
        style = config.activation, config.init
        self.actor = mlp(config.memory_size, config.hidden, self.chunk[0] * self.chunk[1], *style, 0.01)
        self.critic = mlp(group_size(spec, self.critic_group), config.critic_hidden, 1, *style, 1.0)
        self.std = StateIndependentStd(self.chunk, config.init_std, config.min_std)
        self.register_buffer("factor_weight", torch.ones(1), persistent=False)
        self.register_buffer("factor_clip", torch.ones(1), persistent=False)

    @property
    def input_weights(self) -> dict[str, str]:
        """The tensors (..., D) of the actor that read an observation group."""
        return {"cell.weight_ih": "policy"}

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Zeros, (rows, memory_size)."""
        return {"h": self.factor_weight.new_zeros(rows, self.cell.hidden_size)}

    def project(self, x: Tensor) -> Tensor:
        """The input's part of the gates, (..., 3 memory_size); needs no memory, so whole sequences go at once."""
        return functional.linear(x, self.cell.weight_ih, self.cell.bias_ih)

    def remember(self, projected: Tensor, h: Tensor) -> Tensor:
        """The memory (B, memory_size) after one step; equals ``nn.GRUCell``."""
        size = [2 * self.cell.hidden_size, self.cell.hidden_size]
        gates, inner = functional.linear(h, self.cell.weight_hh, self.cell.bias_hh).split(size, -1)
        projected_gates, projected_inner = projected.split(size, -1)
        reset, update = (projected_gates + gates).sigmoid().chunk(2, -1)
        candidate = torch.addcmul(projected_inner, reset, inner).tanh()
        return torch.lerp(candidate, h, update)

    def mean(self, h: Tensor) -> Tensor:
        """The most likely action (..., H, A) given the memory after the observation."""
        return self.actor(h).unflatten(-1, self.chunk)

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,); the critic has no memory."""
        return self.critic(flat(obs[self.critic_group])).squeeze(-1)

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely ones."""
        x = flat(obs["policy"])
        memory = memory or self.initial_memory(x.shape[0])
        h = self.remember(self.project(x), memory["h"])
        mean, std = self.mean(h), self.std()
        action = mean if deterministic else mean + std * torch.randn_like(mean)
        log_prob = gaussian_log_prob(action, mean, std).unsqueeze(-1)
        return Decision(action, log_prob, self.value(obs), {"memory/h": memory["h"]}, {"h": h})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of sequences: action (T, b, H, A); trace memory/h (T or 1, b, ...), episode_start (T, b)."""
        h = trace["memory/h"][0]
        keep = (~trace["episode_start"]).to(h.dtype).unsqueeze(-1)
        states = []
        for projected, kept in zip(self.project(flat(obs["policy"], 2)), keep, strict=True):
            h = self.remember(projected, h * kept)
            states.append(h)
        std = self.std()
        log_prob = gaussian_log_prob(action, self.mean(torch.stack(states)), std).unsqueeze(-1)
        value = self.critic(flat(obs[self.critic_group], 2)).squeeze(-1)
        return Evaluation(log_prob, gaussian_entropy(std).expand_as(log_prob), value)

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Refused: demonstrations are learnt one decision at a time, a memory from sequences."""
        raise ValueError("policy.kind=gru cannot learn by imitation: its memory needs sequences; use policy.kind=mlp")

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take memory and actor of another policy's ``state_dict()``, without its deviation and critic.

        Raises:
            ValueError: they differ; the message says where.
        """
        load_parts(self, state, ("cell", "actor"))

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What the policy gradient trains."""
        yield from self.cell.parameters()
        yield from self.actor.parameters()
        yield from self.std.parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What the value loss trains."""
        return self.critic.parameters()

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return {"std": self.std().mean().item()}


def _orthogonal_gates(cell: nn.GRUCell) -> None:
    """Orthogonal weights for each gate; no bias."""
    for weight in (cell.weight_ih, cell.weight_hh):
        for gate in weight.data.chunk(3):
            nn.init.orthogonal_(gate)
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)
