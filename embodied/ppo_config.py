"""The settings of the learner, :class:`embodied.ppo.PPO`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import schedules
from .configuration import choice, from_mapping, positive, whole, within
from .symmetry import MODES

ADVANTAGES = ("gae", "group_relative")
LOSSES = ("ppo", "dpo")


@dataclass(frozen=True)
class PPOConfig:
    """The learner's settings; a bad value is an error that names the valid ones.

    num_steps: T, decisions per row and rollout.
    gamma: discount factor of a control step; a decision of H of them counts gamma^H.  lam: of GAE, per decision.
    schedule: ``adaptive`` keeps the sample KL near desired_kl; ``linear`` goes to 0 over training; ``constant``.
    critic_learning_rate: None: the same as learning_rate; otherwise it keeps this proportion to it.
    clip_range: how far a ratio may move (times the policy's factor_clip).
    value_clip: how far a value may move from the stored one within an update, None: as far as it likes.
    value_huber: beyond this error the value's loss grows linearly; None: never.
    max_grad_norm: of actor and critic apart; with the critic goes what of a policy no action depends on.
    critic_warmup: updates at the start in which the critic alone learns, for a pretrained actor; with advantage=gae.
    micro_batch: decisions whose gradients are computed at once, so that large networks fit; None: a minibatch. It
        changes nothing but memory and speed.
    compile: compute a minibatch's gradient by one compiled function (``torch.compile``; needs a C++ compiler): some
        seconds at the start, then small networks learn at twice the speed. Equal to float precision, not bit for bit.
    normalize_advantage: to mean 0 and standard deviation 1 over the rollout, all ranks.
    normalize_reward: divide by the standard deviation of the discounted return.
    normalize_value: the critic learns standardised targets.
    symmetry: ``none``, ``augment`` (each minibatch with its mirror image) or ``mix`` (a random half is mirrored).
    target_kl: stop the update when the sample KL of a minibatch exceeds it; None: never.
    advantage: ``gae``, or ``group_relative`` (GRPO: no value loss; groups of equal returns teach nothing).
    loss: ``ppo``, the clipped surrogate, or ``dpo``, that of preferred episodes (``embodied/preferences.py``).
    group_size: rows that begin the same episode, for ``group_relative`` and ``dpo``: the task's ``group``.
    beta: of ``dpo``: how strongly the policy is held to what it started as.
    """

    num_steps: int = 24
    num_epochs: int = 5
    num_minibatches: int = 4
    learning_rate: float = 1e-3
    critic_learning_rate: float | None = None
    schedule: str = "adaptive"
    desired_kl: float = 0.01
    min_learning_rate: float = 1e-5
    max_learning_rate: float = 1e-2
    clip_range: float = 0.2
    value_clip: float | None = None
    value_huber: float | None = None
    entropy_coef: float = 0.01
    value_coef: float = 1.0
    gamma: float = 0.99
    lam: float = 0.95
    max_grad_norm: float = 1.0
    adam_eps: float = 1e-8
    critic_warmup: int = 0
    micro_batch: int | None = None
    compile: bool = False
    normalize_advantage: bool = True
    normalize_reward: bool = False
    normalize_value: bool = False
    symmetry: str = "none"
    target_kl: float | None = None
    advantage: str = "gae"
    loss: str = "ppo"
    group_size: int = 8
    beta: float = 0.1

    def __post_init__(self) -> None:
        choice("algo.schedule", self.schedule, schedules.SCHEDULES)
        choice("algo.symmetry", self.symmetry, MODES)
        choice("algo.advantage", self.advantage, ADVANTAGES)
        choice("algo.loss", self.loss, LOSSES)
        for name in ("num_steps", "num_epochs", "num_minibatches", "learning_rate", "desired_kl", "clip_range", "beta"):
            positive(f"algo.{name}", getattr(self, name))
        for name in ("max_grad_norm", "critic_learning_rate", "value_clip", "value_huber", "target_kl", "micro_batch"):
            if getattr(self, name) is not None:
                positive(f"algo.{name}", getattr(self, name))
        within("algo.gamma", self.gamma, 0.0, 1.0)
        within("algo.lam", self.lam, 0.0, 1.0)
        whole("algo.critic_warmup", self.critic_warmup, 0)
        whole("algo.group_size", self.group_size, 2)
        if self.loss == "dpo" and (self.schedule == "adaptive" or self.symmetry != "none"):
            raise ValueError("algo.loss=dpo: goes with algo.schedule=constant or linear, and algo.symmetry=none")
        if self.compile and self.loss == "dpo":
            raise ValueError("algo.compile=true: goes with algo.loss=ppo only")
        if self.micro_batch is not None and self.symmetry != "none":
            raise ValueError(f"algo.micro_batch={self.micro_batch}: goes with algo.symmetry=none only")

    @property
    def grouped(self) -> bool:
        """Whether rows are compared with those that began the same episode; a rollout then is whole episodes."""
        return self.loss == "dpo" or self.advantage == "group_relative"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> PPOConfig:
        """From configuration; an unknown key is an error that suggests the nearest."""
        return from_mapping(cls, data, "algo")
