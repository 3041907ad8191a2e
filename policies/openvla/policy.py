"""OpenVLA (Kim et al. 2024, arXiv 2406.09246) as a policy: SFT and PPO on its action tokens.

As in RL4VLA (Liu et al. 2025, arXiv 2505.19789), actor and critic share the network, whose value is read from
the hidden state that the first action token is predicted from, adapters learn beside a frozen network, and the
distribution is over the action tokens alone, not over all words. ``decoding: parallel`` is OpenVLA-OFT with one image,
no measurements and tokens (its discrete variant), as SimpleVLA-RL and RLinf fine-tune it.

The prompt ends in the word that Llama's tokenizer makes of a lone space; the network was trained with it.

Legend: B rows; H action chunk; A action size; C = H A; N action tokens; F likelihood factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embodied.configuration import choice, from_mapping, positive
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..foundation import keymap
from ..foundation.adapters import LoraConfig, adapt, merged
from ..foundation.critic import ValueHead
from ..foundation.prompts import Prompts
from ..pretrained import load_parts
from ..vla import bins as likelihood
from ..vla.tokenizer import INSTRUCTION
from ..vla.trunk import IMAGE
from . import layout
from .actions import data_tokens, task_tokens
from .decoding import DECODINGS, Autoregressive, Parallel
from .network import PARTS, OpenVLANetwork, Seen

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PROMPT = "In: What action should the robot take to {}?\nOut:"
START, STOP, SPACE = "<s>", "</s>", "▁"


@dataclass(frozen=True)
class OpenVLAConfig:
    """checkpoint: folder of the published weights, which must stay there: our own checkpoints hold what learns.

    unnorm_key: the data set whose statistics give actions their units; None: tokens span the task's limits.
    decoding: autoregressive (OpenVLA) or parallel (OpenVLA-OFT).
    likelihood: what has a ratio of its own, a ``token``, an ``action`` or the ``chunk``.
    temperature: of the distribution that tokens are drawn from, and judged by; imitation does not know it.
    dtype: of the network; what learns is float32.
    lora: the section for adapters; parts are vision, projector, language, head.
    gradient_checkpointing: activations are computed anew in the backward pass.
    critic_hidden: widths of the value head.
    """

    checkpoint: str
    unnorm_key: str | None = None
    decoding: str = "autoregressive"
    likelihood: str = "action"
    temperature: float = 1.0
    dtype: str = "bfloat16"
    lora: LoraConfig = field(default_factory=lambda: LoraConfig(parts=tuple(PARTS)))
    gradient_checkpointing: bool = True
    critic_hidden: tuple[int, ...] = (512, 128)

    def __post_init__(self) -> None:
        if isinstance(self.lora, Mapping):
            object.__setattr__(self, "lora", from_mapping(LoraConfig, self.lora, "policy.lora"))
        object.__setattr__(self, "critic_hidden", tuple(self.critic_hidden))
        choice("policy.decoding", self.decoding, DECODINGS)
        choice("policy.likelihood", self.likelihood, likelihood.LIKELIHOODS)
        choice("policy.dtype", self.dtype, DTYPES)
        positive("policy.temperature", self.temperature)


class OpenVLAPolicy(nn.Module):
    """network: the published one with adapters.  critic: the value head.  The trace holds ``token`` (B, H, A)."""

    recurrent = False
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: OpenVLAConfig) -> None:
        super().__init__()
        _check_groups(spec)
        self.config, self.chunk = config, (spec.action.chunk, spec.action.size)
        published = self.published = layout.read(config.checkpoint)
        self.prompts = Prompts(published.folder, _prompt_ids)
        stop, start = self.prompts.token(STOP), self.prompts.token(START)
        self.decoding: Autoregressive | Parallel = DECODINGS[config.decoding](self.chunk[0] * self.chunk[1], stop)
        self.actions = (
            task_tokens(spec.action, published.bins)
            if config.unnorm_key is None
            else data_tokens(published.statistics, config.unnorm_key, spec.action, published.bins)
        )
        self.network = _network(published, start, config)
        self.critic = ValueHead(self.network.width, config.critic_hidden)
        ones = torch.ones(likelihood.factor_count(config.likelihood, self.chunk))
        self.register_buffer("factor_weight", ones, persistent=False)
        self.register_buffer("factor_clip", ones.clone(), persistent=False)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Empty: no memory."""
        return {}

    # The contract -----------------------------------------------------------------------------------------------

    def see(self, obs: Obs) -> Seen:
        """What the network knows of B observations, for learning if gradients are wanted."""
        self.network.train(self.config.gradient_checkpointing and torch.is_grad_enabled())
        return self.network.see(obs[IMAGE], *self.prompts(obs[INSTRUCTION]))

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,)."""
        return self.critic(self.decoding.first(self.network, self.see(obs)))

    @torch.no_grad()
    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A), or take the most likely tokens, one after the other if they are decoded so.

        Their log-probabilities are those of the pass that they were drawn in.
        """
        draw = partial(likelihood.draw_token, temperature=self.config.temperature)
        choose = likelihood.best_token if deterministic else draw
        flat, logits, first = self.decoding.decide(self.network, self.see(obs), choose)
        token, logits = flat.unflatten(1, self.chunk), logits.unflatten(1, self.chunk)
        action = self.actions.action(token)
        return Decision(action, self._log_prob(logits, token), self.critic(first), {"token": token})

    def _log_prob(self, logits: Tensor, token: Tensor) -> Tensor:
        """(B, F)."""
        elements = likelihood.token_log_prob(logits, token, self.config.temperature)
        return likelihood.factors(elements, self.config.likelihood)

    def _judge(self, obs: Obs, token: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, H, A, N) of tokens (B, H, A), and the first hidden state (B, E), in one pass."""
        hidden = self.decoding.hidden(self.network, self.see(obs), token.flatten(1))
        return self.network.logits(hidden).unflatten(1, self.chunk), hidden[:, 0]

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of the tokens (B, H, A) that actions were made of."""
        logits, first = self._judge(obs, trace["token"])
        entropy = likelihood.token_entropy(logits, self.config.temperature)
        entropy = likelihood.factors(entropy, self.config.likelihood)
        return Evaluation(self._log_prob(logits, trace["token"]), entropy, self.critic(first))

    # Imitation --------------------------------------------------------------------------------------------------

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Cross entropy (B,) of demonstrated chunks (B, H, A); beyond the limits, of the limits' tokens."""
        token = self.actions.token(action)
        return likelihood.cross_entropy(self._judge(obs, token)[0], token)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take what learnt in another policy's network, its adapters, without its critic.

        Raises:
            ValueError: the other one's adapters, or its weights that learnt, are not those of this policy.
        """
        load_parts(self, state, ("network",))

    # Export -----------------------------------------------------------------------------------------------------

    def export_pretrained(self, folder: str | Path) -> None:
        """Write the network in the published layout, adapters merged, for whatever reads OpenVLA's checkpoints.

        Raises:
            ValueError: the folder is that of the weights that this policy started from.
        """
        weights = layout.open_weights(self.published)
        keymap.export(partial(merged, self.network), weights, layout.keys(self.published), folder)

    # What learns ------------------------------------------------------------------------------------------------

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What policy gradient and value loss train."""
        return (p for p in self.network.parameters() if p.requires_grad)

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What the value loss alone trains."""
        return self.critic.parameters()


def _network(published: layout.Published, start: int, config: OpenVLAConfig) -> OpenVLANetwork:
    """The published network with its weights, and adapters."""
    network = OpenVLANetwork(published, start, DTYPES[config.dtype])
    keymap.load(network, layout.open_weights(published), layout.keys(published))
    adapt(network, config.lora, PARTS)
    if config.gradient_checkpointing:
        network.recompute()
    network.settle()
    return network


def _prompt_ids(tokenizer: Any, instruction: str) -> list[int]:
    """The prompt after ``<s>``: lower case, as in training, and the lone space."""
    text = PROMPT.format(instruction.lower())
    return [*tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.token_to_id(SPACE)]


def _check_groups(spec: TaskSpec) -> None:
    for group in (IMAGE, INSTRUCTION):
        if group not in spec.obs:
            raise ValueError(f"task {spec.name!r} has no observation group {group!r}; it has {', '.join(spec.obs)}")
    shape = spec.obs[IMAGE].shape
    if len(shape) != 3 or shape[-1] != 3:
        raise ValueError(f"observation group 'image' has shape {shape}: must be (h, w, 3)")
