"""Diffusion (DDPM, Ho et al. 2020) and its faster sampling (DDIM, Song et al. 2021).

One formula covers both. With x0 the clean chunk that the network's output implies at x, and a, a' the cumulated signal
shares (alpha bar) of this step and the next, DDIM (eq. 12 and 16) moves to

    sqrt(a') x0 + sqrt(1 - a' - sigma^2) (x - sqrt(a) x0) / sqrt(1 - a),   sigma^2 = eta^2 (1 - a')/(1 - a) (1 - a/a')

which for eta = 1 over all training steps is the posterior of DDPM (eq. 7); eta = 0 is deterministic. It is linear in x0
and x, so a step is two numbers and a deviation. The last step leads to x0 itself.

Legend: B rows; T training steps; K sampling steps; H action chunk; A action size; C condition size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from embodied.configuration import choice, positive, within

from .denoisers import Denoiser
from .process import Step, at, clipped, mean_square, normal, rows_like

MAX_BETA = 0.999
SCHEDULES = ("cosine", "linear")
PREDICTIONS = ("epsilon", "x0", "v")


@dataclass(frozen=True)
class DiffusionConfig:
    """How noise is added and taken away.

    train_steps: T.  steps: K, which must divide T; None: T.
    schedule: ``cosine`` (Nichol and Dhariwal 2021) or ``linear`` (Ho et al. 2020, scaled to T steps).
    prediction: what the network's output is: the noise (``epsilon``), the clean chunk (``x0``) or ``v`` (Salimans and
        Ho 2022). From scratch only ``x0`` starts as a policy near 0: ``epsilon`` is divided by sqrt(alpha bar).
    eta: noise of sampling, 0 (deterministic) to 1 (DDPM).  clip: limit of the implied clean chunk, in policy units;
        None: no limit.
    """

    train_steps: int = 20
    steps: int | None = None
    schedule: str = "cosine"
    prediction: str = "epsilon"
    eta: float = 1.0
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        choice("policy.diffusion.schedule", self.schedule, SCHEDULES)
        choice("policy.diffusion.prediction", self.prediction, PREDICTIONS)
        positive("policy.diffusion.train_steps", self.train_steps)
        within("policy.diffusion.eta", self.eta, 0.0, 1.0)
        if self.clip is not None:
            positive("policy.diffusion.clip", self.clip)
        steps = self.train_steps if self.steps is None else self.steps
        positive("policy.diffusion.steps", steps)
        if self.train_steps % steps:
            raise ValueError(f"policy.diffusion.steps={steps}: must divide train_steps={self.train_steps}")
        object.__setattr__(self, "steps", steps)


def betas(schedule: str, steps: int) -> list[float]:
    """Variances of the noise that each of T steps adds."""
    if schedule == "linear":
        low, high = 0.1 / steps, 20.0 / steps
        return [min(low + (high - low) * i / max(1, steps - 1), MAX_BETA) for i in range(steps)]
    signal = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    return [min(1 - after / before, MAX_BETA) for before, after in pairwise(signal)]


def alpha_bars(schedule: str, steps: int) -> tuple[float, ...]:
    """The share of the signal's variance that is left after each of T steps."""
    left, found = 1.0, []
    for beta in betas(schedule, steps):
        left *= 1 - beta
        found.append(left)
    return tuple(found)


def clean(prediction: str, output: Tensor, x: Tensor, signal: float | Tensor, spread: float | Tensor) -> Tensor:
    """The clean chunk (B, H, A) that the network's output at ``x = signal * chunk + spread * noise`` implies."""
    if prediction == "epsilon":
        return (x - spread * output) / signal
    return output if prediction == "x0" else signal * x - spread * output


def target(prediction: str, action: Tensor, noise: Tensor, signal: Tensor, spread: Tensor) -> Tensor:
    """What the network shall say of ``signal * action + spread * noise``."""
    if prediction == "epsilon":
        return noise
    return action if prediction == "x0" else signal * noise - spread * action


def coefficients(now: float, after: float, eta: float) -> tuple[float, float, float]:
    """(of x0, of x, standard deviation) of the step from alpha bar ``now`` to ``after``."""
    variance = eta**2 * (1 - after) / (1 - now) * (1 - now / after)
    of_noise = math.sqrt(max(0.0, 1 - after - variance))
    of_x = of_noise / math.sqrt(1 - now)
    return math.sqrt(after) - of_x * math.sqrt(now), of_x, math.sqrt(variance)


class Diffusion:
    """Samples at K of the T training steps, evenly spaced from the noisiest ("trailing", Lin et al. 2023, table 2)."""

    times = 1

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config
        self.steps = config.steps or config.train_steps
        self.alpha_bar = alpha_bars(config.schedule, config.train_steps)
        stride = config.train_steps // self.steps
        self.indices = tuple(range(config.train_steps - 1, -1, -stride))
        pairs = [(self.alpha_bar[i], self.alpha_bar[i - stride] if i >= stride else 1.0) for i in self.indices]
        self.signal = tuple(math.sqrt(now) for now, _ in pairs)
        self.spread = tuple(math.sqrt(1 - now) for now, _ in pairs)
        steps = [coefficients(now, after, config.eta) for now, after in pairs]
        self.of_x0, self.of_x, self.std = (tuple(values) for values in zip(*steps, strict=True))

    def grid(self, like: Tensor) -> tuple[Tensor, ...]:
        """(index + 1) / T of every step, (K,)."""
        return (like.new_tensor([(index + 1) / self.config.train_steps for index in self.indices]),)

    def mean(self, output: Tensor, x: Tensor, k: Step) -> Tensor:
        """Mean (B, H, A) of what step k makes of x (B, H, A), by the network's output (B, H, A)."""
        signal, spread, of_x0, of_x = (at(v, k, x) for v in (self.signal, self.spread, self.of_x0, self.of_x))
        x0 = clipped(clean(self.config.prediction, output, x, signal, spread), self.config.clip)
        return of_x0 * x0 + of_x * x

    def draw_times(self, rows: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(rows,): i / T for i of 1 to T, each as likely."""
        total = self.config.train_steps
        index = torch.randint(total, (rows,), device=like.device, generator=generator)
        return (index + 1).to(like.dtype) / total

    def matching_loss(self, network: Denoiser, action: Tensor, cond: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Squared error (B,) of the network's output at times t (B,), mean over the chunk."""
        index = (t * self.config.train_steps).round().long() - 1
        left = rows_like(action.new_tensor(self.alpha_bar)[index], action)
        signal, spread = left.sqrt(), (1 - left).sqrt()
        output = network(signal * action + spread * noise, network.embed_times(t), cond)
        return mean_square(output - target(self.config.prediction, action, noise, signal, spread))

    def loss(self, network: Denoiser, action: Tensor, cond: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The simple loss of Ho et al. (2020, eq. 14), (B,)."""
        t = self.draw_times(action.shape[0], action, generator)
        return self.matching_loss(network, action, cond, t, normal(tuple(action.shape), action, generator))
