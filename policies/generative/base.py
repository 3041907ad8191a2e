"""What all diffusion and flow policies share: condition, denoiser, process, critic, imitation, sampling, export.

Legend: B rows; K sampling steps; D noise tensors; H action chunk; A action size; C condition size;
F likelihood factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from embodied.configuration import choice, from_mapping
from embodied.types import Obs, TaskSpec

from ..distributions import REDUCTIONS
from ..networks import ACTIVATIONS
from ..pretrained import load_parts
from ..vla.condition import VisionLanguageEncoder
from ..vla.tokenizer import WORDS
from ..vla.trunk import TrunkConfig
from .denoisers import MLPDenoiser, MLPDenoiserConfig, Shape
from .diffusion import Diffusion, DiffusionConfig
from .dit import TransformerConfig, TransformerDenoiser
from .encoders import Critic, ImageConfig, ObservationEncoder
from .flow import FlowConfig, RectifiedFlow
from .mean_flow import MeanFlow, MeanFlowConfig
from .process import Predict, denoise, noise_count, normal, predictor
from .shortcut import Shortcut, ShortcutConfig
from .unet import UNetConfig, UNetDenoiser

NETWORKS = {"mlp": MLPDenoiser, "unet": UNetDenoiser, "transformer": TransformerDenoiser}
PROCESSES = {"diffusion": Diffusion, "flow": RectifiedFlow, "shortcut": Shortcut, "mean_flow": MeanFlow}
SECTIONS = {
    "mlp": MLPDenoiserConfig,
    "unet": UNetConfig,
    "transformer": TransformerConfig,
    "diffusion": DiffusionConfig,
    "flow": FlowConfig,
    "shortcut": ShortcutConfig,
    "mean_flow": MeanFlowConfig,
    "image": ImageConfig,
    "trunk": TrunkConfig,
}
"""Parts of a configuration; those of the network, the process and the encoder that are not chosen do nothing."""
ENCODERS = ("flat", "vla")
INFERENCE_NOISE = ("zero", "random")


@dataclass(frozen=True)
class GenerativeConfig:
    """The part of the configuration that every rule shares.

    network: mlp, unet or transformer; the section of that name sizes it.
    process: diffusion, flow, shortcut or mean_flow; the section of that name says how.
    encoder: ``flat``, the measurements beside features of the images (section ``image``), or ``vla``, a transformer
        that reads the instruction as well (section ``trunk``). The critic is the same in both cases.
    near_zero_output: the denoiser's output starts near 0; from scratch, with prediction ``x0``, so does the action.
    inference_noise: what deterministic decisions start from: ``zero``, or ``random`` as in pretraining. Exploration
        noise is left out in both cases. ``zero`` repeats; ``random`` keeps the modes of multimodal demonstrations.
    logprob_reduction: log-probabilities are the ``sum`` or the ``mean`` over the H x A elements of a chunk.
    critic_hidden, critic_activation: of the critic.
    """

    network: str = "mlp"
    process: str = "diffusion"
    encoder: str = "flat"
    near_zero_output: bool = False
    inference_noise: str = "zero"
    logprob_reduction: str = "sum"
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    critic_activation: str = "elu"
    mlp: MLPDenoiserConfig = field(default_factory=MLPDenoiserConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    shortcut: ShortcutConfig = field(default_factory=ShortcutConfig)
    mean_flow: MeanFlowConfig = field(default_factory=MeanFlowConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)

    def __post_init__(self) -> None:
        choice("policy.network", self.network, NETWORKS)
        choice("policy.process", self.process, PROCESSES)
        choice("policy.encoder", self.encoder, ENCODERS)
        choice("policy.inference_noise", self.inference_noise, INFERENCE_NOISE)
        choice("policy.logprob_reduction", self.logprob_reduction, REDUCTIONS)
        choice("policy.critic_activation", self.critic_activation, ACTIVATIONS)
        object.__setattr__(self, "critic_hidden", tuple(self.critic_hidden))
        for name, section in SECTIONS.items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                object.__setattr__(self, name, from_mapping(section, value, f"policy.{name}"))


class GenerativePolicy(nn.Module):
    """A denoiser that makes action chunks, a critic beside it; the rules add how a decision is drawn and judged.

    All rules call their parts ``encoder`` and ``network``, so that weights go from one to another.
    """

    recurrent = False
    factor_weight: Tensor
    factor_clip: Tensor

    def __init__(self, spec: TaskSpec, config: GenerativeConfig, chunk: int | None = None) -> None:
        """chunk: actions that the denoiser makes at once; None: those of the task's decision."""
        super().__init__()
        self.config = config
        self.chunk = (chunk or spec.action.chunk, spec.action.size)
        self.process = PROCESSES[config.process](getattr(config, config.process))
        self.encoder: ObservationEncoder | VisionLanguageEncoder = (
            VisionLanguageEncoder(spec, config.trunk)
            if config.encoder == "vla"
            else ObservationEncoder(spec, "policy", config.image)
        )
        shape = Shape(self.chunk, self.encoder.size, self.process.times, 0.01 if config.near_zero_output else 1.0)
        self.network = NETWORKS[config.network](shape, getattr(config, config.network))
        self.critic = Critic(spec, config.critic_hidden, config.critic_activation, config.image)
        self.set_factors(torch.ones(1), torch.ones(1))

    def set_factors(self, weight: Tensor, clip: Tensor) -> None:
        """How much each likelihood factor weighs and how far it may move, (F,) each."""
        self.register_buffer("factor_weight", weight, persistent=False)
        self.register_buffer("factor_clip", clip, persistent=False)

    def initial_memory(self, rows: int) -> dict[str, Tensor]:
        """Empty: no memory."""
        return {}

    def condition(self, obs: Obs) -> Tensor:
        """What the denoiser knows of the observation, (B, C)."""
        return self.encoder(obs, self.factor_weight.dtype)

    def value(self, obs: Obs, memory: dict[str, Tensor] | None = None) -> Tensor:
        """(B,)."""
        return self.critic(obs, self.factor_weight.dtype)

    # Sampling ---------------------------------------------------------------------------------------------------

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """(D, H, A): the noise that one decision takes."""
        return (noise_count(self.process), *self.chunk)

    def draw_noise(self, cond: Tensor, deterministic: bool = False) -> Tensor:
        """(B, D, H, A), standard normal; for deterministic decisions as ``inference_noise`` says."""
        shape = (cond.shape[0], *self.noise_shape)
        if deterministic and self.config.inference_noise == "zero":
            return cond.new_zeros(shape)
        return normal(shape, cond)

    def predictor(self, cond: Tensor) -> Predict:
        """The network along a chain, for cond (B, C)."""
        return predictor(self.process, self.network, cond)

    def chain(self, cond: Tensor, noise: Tensor) -> list[Tensor]:
        """x_0 .. x_K (B, H, A) without exploration, a function of cond (B, C) and noise (B, D, H, A)."""
        return denoise(self.process, self.predictor(cond), noise)

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Tensor | None = None) -> Tensor:
        """The deterministic decision (B, H, A) for measurements (B, ...), and images where the task has them.

        noise: (B, D, H, A), zeros or standard normal.
        """
        return self.chain(self.condition(observation(obs_policy, image)), noise)[-1]

    def export_condition(self, obs_policy: Tensor, image: Tensor | None = None, words: Tensor | None = None) -> Tensor:
        """The condition (B, C) for measurements (B, ...), images, and the instruction's word numbers (B, W).

        With :meth:`chain` it is the deterministic decision in two graphs: what is seen and told is read once.
        """
        told = {} if words is None else {WORDS: words}
        return self.condition(observation(obs_policy, image) | told)

    # Imitation --------------------------------------------------------------------------------------------------

    def imitation_loss(self, obs: Obs, action: Tensor) -> Tensor:
        """The process's training loss (B,) on demonstrated chunks (B, H, A), to be minimised."""
        return self.process.loss(self.network, action, self.encoder(obs, self.factor_weight.dtype))

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Take encoder and network from the ``state_dict()`` of any generative policy that has the same.

        Raises:
            ValueError: they differ; the message says where.
        """
        load_parts(self, state, ("encoder", "network"))

    # What learns ------------------------------------------------------------------------------------------------

    def actor_parameters(self) -> Iterator[nn.Parameter]:
        """What the policy gradient trains."""
        for name, parameter in self.named_parameters():
            if not name.startswith("critic.") and parameter.requires_grad:
                yield parameter

    def critic_parameters(self) -> Iterator[nn.Parameter]:
        """What the value loss trains."""
        return self.critic.parameters()

    def diagnostics(self) -> dict[str, float]:
        """Figures worth logging."""
        return {}


def observation(obs_policy: Tensor, image: Tensor | None) -> Obs:
    """What a robot observes, as a policy takes it."""
    return {"policy": obs_policy} if image is None else {"policy": obs_policy, "image": image}
