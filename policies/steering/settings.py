"""How a steered policy learns; see ``learner.py``."""

from __future__ import annotations

from dataclasses import dataclass

from embodied.configuration import positive, within


@dataclass(frozen=True)
class SACConfig:
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905).

    gamma: discount factor of one control step; a decision of n steps counts gamma^n.
    learning_rate: of Adam, for actor, critics and temperature.  batch_size: transitions of a gradient step.
    tau: how far the target critics follow the critics in one gradient step.
    num_steps: decisions of every world in an iteration, the interval of the log.
    gradient_steps: after each decision of all worlds.
    learning_starts: decisions that the frozen policy makes by itself before learning starts.
    buffer_size: transitions that are remembered, the last ones; a checkpoint holds them all.
    temperature: what a nat of entropy is worth at the start, in reward; learnt from then on. That of all elements of a
        chunk adds up, and must not drown a sparse reward.
    target_entropy: what the temperature keeps the entropy at, in nats for each element of a chunk.
    """

    gamma: float = 0.99
    learning_rate: float = 3e-4
    batch_size: int = 256
    tau: float = 0.005
    num_steps: int = 32
    gradient_steps: int = 16
    learning_starts: int = 2_000
    buffer_size: int = 200_000
    temperature: float = 0.1
    target_entropy: float = -1.0

    def __post_init__(self) -> None:
        within("algo.gamma", self.gamma, 0.0, 1.0)
        within("algo.tau", self.tau, 0.0, 1.0)
        names = ("learning_rate", "batch_size", "num_steps", "gradient_steps", "learning_starts", "buffer_size")
        for name in (*names, "temperature"):
            positive(f"algo.{name}", getattr(self, name))
