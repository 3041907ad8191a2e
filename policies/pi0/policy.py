"""pi0 (Black et al. 2024, arXiv 2410.24164) as a policy: SFT by flow matching, RL by Flow-Noise or Flow-SDE.

The two rules are those of pi_RL (Chen et al. 2025, arXiv 2510.25889): a learnt noise on every step of the flow
(``policies/generative/reinflow.py``), or the noise that leaves the flow's marginals as they are (``flow_sde.py``). Both
take pi0 as encoder and denoiser; what differs here is that a decision reads image and prompt once, and that the noise
of the padding is kept in its trace.

The critic is a perceptron on what was read and the state, as pi_RL's behind the VLM.

Legend: B rows; J steps with a likelihood; C condition size; H action chunk; A action size; M padded action size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from embodied.configuration import choice, from_mapping, whole
from embodied.types import Decision, Evaluation, Obs, TaskSpec

from ..foundation import keymap
from ..foundation.adapters import LoraConfig, adapt, merged
from ..foundation.critic import ValueHead
from ..foundation.prompts import Prompts
from ..foundation.shards import Shards
from ..generative.base import GenerativeConfig, GenerativePolicy
from ..generative.chain import ChainPolicy
from ..generative.flow import RectifiedFlow
from ..generative.flow_sde import FlowSDEConfig, FlowSDEPolicy
from ..generative.process import normal
from ..generative.reinflow import ReinFlowConfig, ReinFlowPolicy
from ..pretrained import load_parts
from . import layout
from .condition import Expert, Reader
from .network import PARTS, Pi0Network

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PADDING = "padding"
"""In a trace: the noise of the elements that the task has not got."""
START = "<bos>"


@dataclass(frozen=True, kw_only=True)
class Pi0Settings(GenerativeConfig):
    """checkpoint: folder of the published weights, which must stay there: our own checkpoints hold what learns.

    max_tokens: of a prompt, to which all are filled up.
    dtype: of what is frozen; what learns, the chain and its likelihood are float32.
    lora: what learns; by default the whole expert and nothing else, as in pi_RL. Parts: vision, projector, language,
        expert.
    """

    checkpoint: str
    max_tokens: int = 48
    dtype: str = "bfloat16"
    lora: LoraConfig = field(default_factory=lambda: LoraConfig(rank=0, parts=("expert",)))
    process: str = "flow"
    logprob_reduction: str = "mean"
    critic_hidden: tuple[int, ...] = (512, 256, 128)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.lora, Mapping):
            object.__setattr__(self, "lora", from_mapping(LoraConfig, self.lora, "policy.lora"))
        choice("policy.dtype", self.dtype, DTYPES)
        choice("policy.process", self.process, ("flow",))
        whole("policy.max_tokens", self.max_tokens)


class Pi0Flow(RectifiedFlow):
    """The times of imitation favour noise: 1 - t is .001 + .999 beta, beta from Beta(1.5, 1) (appendix B)."""

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(rows,) in [0, .999]; Beta(1.5, 1) is u^(1 / 1.5) of an even u."""
        even = super().draw_times(rows, like, generator)
        return 1 - (0.001 + 0.999 * even ** (1 / 1.5))


class Pi0Parts(GenerativePolicy):
    """What a rule works with, made of a checkpoint: comes after the rule in the order of bases.

    network: holds all of pi0's weights; ``encoder`` and ``denoiser`` are two sides of it.
    """

    def __init__(self, spec: TaskSpec, config: Any, chunk: int | None = None) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.chunk = (chunk or spec.action.chunk, spec.action.size)
        self.process = Pi0Flow(config.flow)
        published = self.published = layout.read(config.checkpoint)
        prompts = Prompts(published.folder, _prompt_ids)
        prompts.token(START)
        self.weights = _network(published, config)
        self.encoder: Any = Reader(spec, self.weights, prompts, self.chunk, config.max_tokens)
        self.network: Any = Expert(self.weights, self.encoder.packing)
        self.critic: Any = ValueHead(self.encoder.size, config.critic_hidden)
        self.set_factors(torch.ones(1), torch.ones(1))

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,)."""
        return self.critic(self.condition(obs)[:, : self.encoder.size])

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take what learnt in another pi0 policy, by whichever rule, without critic and noise.

        Raises:
            ValueError: what learns there is not what learns here.
        """
        load_parts(self, state, ("weights",))

    def export_pretrained(self, folder: str | Path) -> None:
        """Write the weights in the published layout, adapters merged.

        Raises:
            ValueError: the folder is that of the weights that this policy started from.
        """
        shards = Shards(self.published.folder)
        keymap.export(partial(merged, self.weights), shards, layout.keys(self.published, shards), folder)


class Pi0Decisions(ChainPolicy):
    """How a decision is drawn and judged: comes before the rule in the order of bases."""

    encoder: Any

    def act(self, obs: Obs, memory: dict[str, Tensor] | None = None, deterministic: bool = False) -> Decision:
        """Draw actions (B, H, A) by a chain that explores, or take those of one that does not."""
        shape = (len(obs["image"]), *self.encoder.packing.padding)
        zero = deterministic and self.config.inference_noise == "zero"
        padding = self.factor_weight.new_zeros(shape) if zero else normal(shape, self.factor_weight)
        with torch.no_grad(), self._holding(obs, padding):
            decision = super().act(obs, memory, deterministic)
        return dataclasses.replace(decision, trace=decision.trace | {PADDING: padding})

    def evaluate_actions(self, obs: Obs, action: Tensor, trace: dict[str, Tensor]) -> Evaluation:
        """Likelihood of the chains that led to actions (B, H, A)."""
        with self._holding(obs, trace[PADDING]):
            return super().evaluate_actions(obs, action, trace)

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """Flow matching (B,) on demonstrated chunks (B, H, A)."""
        padding = normal((len(action), *self.encoder.packing.padding), self.factor_weight)
        with self._holding(obs, padding):
            return super().imitation_loss(obs, action)

    def _holding(self, obs: Obs, padding: Tensor) -> Any:
        return self.encoder.holding(obs, self.factor_weight.dtype, padding)

    def means(self, x: Tensor, cond: Tensor) -> Tensor:
        """Of the J steps, one after the other: what was read is too large to be repeated for each."""
        predict = self.predictor(cond)
        steps = range(self.first, self.process.steps)
        return torch.stack([self.mean(predict(y, k), y, k) for k, y in zip(steps, x.unbind(1), strict=True)], 1)


@dataclass(frozen=True, kw_only=True)
class Pi0NoiseConfig(Pi0Settings, ReinFlowConfig):
    """pi0 with the settings of ReinFlow."""


class Pi0NoisePolicy(Pi0Decisions, ReinFlowPolicy, Pi0Parts):
    """Flow-Noise: ReinFlow on pi0. The noise network sees summary and state."""

    def __init__(self, spec: TaskSpec, config: Pi0NoiseConfig) -> None:
        super().__init__(spec, config)

    def deviations(self, cond: Tensor) -> Tensor:
        """(B, K, H, A)."""
        return super().deviations(cond[:, : self.encoder.size])


@dataclass(frozen=True, kw_only=True)
class Pi0SDEConfig(Pi0Settings, FlowSDEConfig):
    """pi0 with the settings of Flow-SDE."""


class Pi0SDEPolicy(Pi0Decisions, FlowSDEPolicy, Pi0Parts):
    """Flow-SDE on pi0."""

    def __init__(self, spec: TaskSpec, config: Pi0SDEConfig) -> None:
        super().__init__(spec, config)


def _network(published: layout.Published, config: Pi0Settings) -> Pi0Network:
    """The published network with its weights, of which some learn, or adapters."""
    network, shards = Pi0Network(published, DTYPES[config.dtype]), Shards(published.folder)
    keymap.load(network, shards, layout.keys(published, shards))
    adapt(network, config.lora, PARTS)
    network.settle()
    return network


def _prompt_ids(tokenizer: Any, instruction: str) -> list[int]:
    """``<bos>``, the instruction in one line, and an end of line, tokenized apart as in training."""
    text = instruction.strip().replace("_", " ").replace("\n", " ")
    ids = cast(list[int], tokenizer.encode(text, add_special_tokens=False).ids)
    return [tokenizer.token_to_id(START), *ids, *tokenizer.encode("\n", add_special_tokens=False).ids]
