"""A task whose action is the noise of a frozen policy (DSRL, Wagenmaker et al. 2025, arXiv 2506.15799).

A frozen diffusion or flow policy whose sampling is deterministic maps its initial noise to an action chunk. Seen from
outside, noise is an action like any other, kept in a box where the policy has been trained. So any learner can choose
it: this suite's own, or another one through ``envs.adapters`` (``gamma ** H`` is its discount factor then). The rule
itself, a policy that ``embodied steer`` trains, is ``dsrl.py``.

Legend: B rows; H action chunk; A action size.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from embodied.configuration import positive
from embodied.types import ActionSpec, StepResult, TaskSpec, VecEnv

from .frozen import FrozenPolicy, act, check_chunk, check_one_draw
from .view import StandardisedVecEnv


class NoiseVecEnv(StandardisedVecEnv):
    """A task whose actions (B, H, A) are the initial noise of a frozen policy; a :class:`embodied.types.VecEnv`.

    Observations are those that the frozen policy sees, standardised by its own normaliser.

    Args:
        env: the task, in chunks of the frozen policy's length.
        base: sampled deterministically, so that D = 1.
        bound: b; noise is clipped to [-b, b]. Far from 0 the policy has seen no noise in training: about 99 % of a
            standard normal distribution lie within 2.6.
        normalizer: an ``ObsNormalizer`` that the frozen policy was trained with, or None.

    Raises:
        ValueError: the policy draws noise between its steps, its chunk is not the task's, or the bound is not above 0.
    """

    def __init__(
        self, env: VecEnv, base: FrozenPolicy, *, bound: float = 1.5, normalizer: nn.Module | None = None
    ) -> None:
        positive("bound", bound)
        check_chunk(base, env.spec)
        check_one_draw(base)
        super().__init__(env, normalizer)
        self.base, self.bound = base, bound
        self.spec = noise_spec(self.spec, bound)

    def step(self, action: Tensor) -> StepResult:
        """Execute what the frozen policy makes of this noise, (B, H, A)."""
        expected = (self.num_rows, self.spec.action.chunk, self.spec.action.size)
        if tuple(action.shape) != expected:
            raise ValueError(f"{self.spec.name}: noise of shape {tuple(action.shape)}, expected {expected}")
        noise = action.clamp(-self.bound, self.bound).unsqueeze(1)
        return super().step(act(self.base, self._obs, noise))


def noise_spec(spec: TaskSpec, bound: float) -> TaskSpec:
    """The specification of a task that takes noise in [-bound, bound]; the frozen policy knows of no symmetry."""
    size = spec.action.size
    action = ActionSpec(
        tuple(f"noise.{name}" for name in spec.action.names),
        kind="noise",
        offset=(0.0,) * size,
        scale=(1.0,) * size,
        low=-bound,
        high=bound,
        chunk=spec.action.chunk,
    )
    return dataclasses.replace(spec, action=action, symmetry=None)
