"""A compact vision-language-action policy with action tokens, small enough to learn from scratch on two cores.

Image, instruction and measurements are mixed by a transformer (``trunk.py``), from which a head reads each action
element as one of N tokens: all of a chunk at once (OpenVLA-OFT, Kim et al. 2025, arXiv 2502.19645) or one after the
other (RT-2, Brohan et al. 2023, arXiv 2307.15818). Both state an exact likelihood in one pass.

Legend: B rows; H action chunk; A action size; N bins; W words; F likelihood factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from embodied.configuration import choice, from_mapping, positive, whole, within
from embodied.types import ActionSpec, Decision, Evaluation, Obs, TaskSpec

from ..networks import ACTIVATIONS
from ..pretrained import load_parts
from . import bins as likelihood
from .bins import LIKELIHOODS, Bins
from .critics import CRITICS, SeparateCritic, SharedCritic
from .heads import HEADS
from .privileged import PrivilegedHead, hidden_elements
from .tokenizer import WORDS
from .trunk import IMAGE, MEASURED, Context, Trunk, TrunkConfig


@dataclass(frozen=True)
class CompactVLAConfig:
    """trunk: the section that sizes the transformer.

    bins: N, tokens of an action element.  decoding: parallel or autoregressive.
    likelihood: what has a ratio of its own, a ``token``, an ``action`` or the ``chunk``.
    temperature: of the distribution that tokens are drawn from, and judged by; imitation does not know it.
    label_smoothing: share of the imitation targets' mass that is spread over all tokens.
    privileged_weight: of imitation's auxiliary loss, ``privileged.py``, where the task has a group ``critic``; 0: none.
    privileged_rl_weight: of the same loss beside PPO's, for every decision that PPO learns from; DPO does not use it.
    critic: ``shared``, a query on the trunk, or ``separate``, a perceptron on the group ``critic``.
    critic_hidden, critic_activation: of the separate one.
    """

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    bins: int = 33
    decoding: str = "parallel"
    likelihood: str = "action"
    temperature: float = 1.0
    label_smoothing: float = 0.0
    privileged_weight: float = 0.0
    privileged_rl_weight: float = 0.0
    critic: str = "shared"
    critic_hidden: tuple[int, ...] = (256, 256)
    critic_activation: str = "elu"

    def __post_init__(self) -> None:
        if isinstance(self.trunk, Mapping):
            object.__setattr__(self, "trunk", from_mapping(TrunkConfig, self.trunk, "policy.trunk"))
        object.__setattr__(self, "critic_hidden", tuple(self.critic_hidden))
        whole("policy.bins", self.bins, 2)
        choice("policy.decoding", self.decoding, HEADS)
        choice("policy.likelihood", self.likelihood, LIKELIHOODS)
        positive("policy.temperature", self.temperature)
        within("policy.label_smoothing", self.label_smoothing, 0.0, 1.0)
        for name in ("privileged_weight", "privileged_rl_weight"):
            within(f"policy.{name}", getattr(self, name), 0.0, 1e6)
        choice("policy.critic", self.critic, CRITICS)
        choice("policy.critic_activation", self.critic_activation, ACTIVATIONS)


def action_limits(action: ActionSpec) -> tuple[float, float]:
    """What the tokens cover: the task's limits; +-1, the range of scaled actions, where it has none."""
    low, high = action.low, action.high
    return -1.0 if low is None else low, 1.0 if high is None else high


class CompactVLAPolicy(nn.Module):
    """trunk, head: what imitation trains.  critic: asks the trunk, or sees privileged measurements.

    privileged: what imitation trains beside them, and reinforcement learning where ``privileged_rl_weight`` says so.
    """

    recurrent = False
    of_critic_terms = ("privileged.",)
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: CompactVLAConfig | None = None) -> None:
        super().__init__()
        config = self.config = config or CompactVLAConfig()
        self.chunk = (spec.action.chunk, spec.action.size)
        self.bins = Bins(*action_limits(spec.action), config.bins)
        self.trunk = Trunk(spec, config.trunk)
        self.head = HEADS[config.decoding](self.chunk, config.bins, config.trunk.width)
        self.critic: SharedCritic | SeparateCritic = (
            SharedCritic(config.trunk.width)
            if config.critic == "shared"
            else SeparateCritic(spec, config.critic_hidden, config.critic_activation)
        )
        self.privileged: PrivilegedHead | None = None
        if (config.privileged_weight or config.privileged_rl_weight) and len(hidden_elements(spec)):
            self.privileged = PrivilegedHead(spec, config.trunk.width)
        ones = torch.ones(likelihood.factor_count(config.likelihood, self.chunk))
        self.register_buffer("factor_weight", ones, persistent=False)
        self.register_buffer("factor_clip", ones.clone(), persistent=False)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Empty: no memory."""
        return {}

    # The contract -----------------------------------------------------------------------------------------------

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,)."""
        return self.critic(obs, self.trunk)

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely tokens, one after the other if they are decoded so."""
        draw = partial(likelihood.draw_token, temperature=self.config.temperature)
        context = self.trunk.encode(obs)
        token, logits = self.head.decide(self.trunk, context, likelihood.best_token if deterministic else draw)
        action = self.bins.action(token, logits.dtype)
        return Decision(action, self._log_prob(logits, token), self.critic(obs, self.trunk, context))

    def _log_prob(self, logits: Tensor, token: Tensor) -> Tensor:
        """(B, F)."""
        elements = likelihood.token_log_prob(logits, token, self.config.temperature)
        return likelihood.factors(elements, self.config.likelihood)

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of actions (B, H, A) taken before."""
        context, token = self.trunk.encode(obs), self.bins.token(action)
        logits = self.head.logits(self.trunk, context, token)
        entropy = likelihood.token_entropy(logits, self.config.temperature)
        entropy = likelihood.factors(entropy, self.config.likelihood)
        value = self.critic(obs, self.trunk, context)
        return Evaluation(self._log_prob(logits, token), entropy, value, self._auxiliary(obs, context))

    def _auxiliary(self, obs: Obs, context: Context) -> Tensor | None:
        weight = self.config.privileged_rl_weight
        if not weight or self.privileged is None:
            return None
        return weight * self.privileged.loss(obs, self.trunk, context)

    # Imitation --------------------------------------------------------------------------------------------------

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Cross entropy (B,) of demonstrated chunks (B, H, A); beyond the limits, of the limits' tokens."""
        token, context = self.bins.token(action), self.trunk.encode(obs)
        logits = self.head.logits(self.trunk, context, token)
        loss = likelihood.cross_entropy(logits, token, self.config.label_smoothing)
        if self.privileged is None or not self.config.privileged_weight:
            return loss
        return loss + self.config.privileged_weight * self.privileged.loss(obs, self.trunk, context)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take trunk and head of another policy's ``state_dict()``, and its privileged head if it fits; no critic.

        Raises:
            ValueError: it has no token head, or one that was never trained, whose every token is equally likely: RL
                would start from nothing; or the networks differ, and the message says where.
        """
        out = state.get("head.out.weight")
        if out is None:
            parts = ", ".join(sorted({name.partition(".")[0] for name in state}))
            raise ValueError(f"these weights have no token head (they have {parts}): pretrain policy.kind=compact_vla")
        if not out.any():
            raise ValueError("the token head of these weights was never trained: all tokens are equally likely")
        load_parts(self, state, ("trunk", "head", *(["privileged"] if self._fits_privileged(state) else [])))

    def _fits_privileged(self, state: Mapping[str, Tensor]) -> bool:
        found = state.get("privileged.out.weight")
        return self.privileged is not None and found is not None and found.shape == self.privileged.out.weight.shape

    # Export -----------------------------------------------------------------------------------------------------

    def export_forward(self, obs_policy: Tensor, image: Tensor | None = None, words: Tensor | None = None) -> Tensor:
        """The deterministic decision (B, H, A) for measurements (B, ...), images and word numbers (B, W).

        The runtime tokenizes, as ``trunk.language.tokenizer.describe()`` says. In the graph, image and language are
        read once; the tokens are decoded from what is kept of them.
        """
        groups = {MEASURED: obs_policy, IMAGE: image, WORDS: words}
        context = self.trunk.encode({name: x for name, x in groups.items() if x is not None})
        token, logits = self.head.decide(self.trunk, context, likelihood.best_token)
        return self.bins.action(token, logits.dtype)

    def token_logits(self, obs: Obs, action: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, H, A, N) and tokens (B, H, A) of actions (B, H, A). Of an autoregressive head, the logits of an
        element given the action's tokens before it: another program's decision is judged by its own.
        """
        token = self.bins.token(action)
        return self.head.logits(self.trunk, self.trunk.encode(obs), token), token

    # What learns ------------------------------------------------------------------------------------------------

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What the policy gradient trains; the trunk, too, where the critic shares it."""
        yield from self.trunk.parameters()
        yield from self.head.parameters()

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What no action depends on: what the value loss alone trains, and the auxiliary loss's own part."""
        yield from self.critic.parameters()
        if self.config.privileged_rl_weight and self.privileged is not None:
            yield from self.privileged.parameters()
