"""A frozen policy and a task whose best answer is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from policies.steering.dsrl import DSRLConfig, DSRLPolicy
from policies.steering.expo import EXPOConfig, EXPOPolicy
from tests.helpers.environments import PointMass


class Compass(nn.Module):
    """Goes towards the origin, or away from it, as the sign of its noise says; and always ``bias`` beside it.

    action (B, H, A) = clip(noise_1) * -2 x + bias, with one number of noise that decides.
    """

    def __init__(self, chunk: int = 1, bias: float = 0.0, draws: int = 1) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(-2.0))
        self.noise_shape, self.bias = (draws, chunk, 2), bias

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Tensor | None = None) -> Tensor:
        assert noise.shape[1:] == self.noise_shape
        way = noise[:, 0, :, :1].clamp(-1, 1)
        return way * self.gain * obs_policy.unsqueeze(1) + self.bias


def bounded(rows: int = 8, horizon: int = 6, high: float = 1.0) -> PointMass:
    """A point mass whose actions have limits."""
    env = PointMass(rows, horizon)
    env.spec = dataclasses.replace(
        env.spec, action=dataclasses.replace(env.spec.action, low=-high, high=high), symmetry=None
    )
    return env


def dsrl(base: Any = None, spec: Any = None, **options: Any) -> DSRLPolicy:
    """Compass, or another one, steered by its noise."""
    return DSRLPolicy(spec or bounded().spec, DSRLConfig(**{"hidden": (32,), **options}), base or Compass())


def expo(base: Any = None, spec: Any = None, **options: Any) -> EXPOPolicy:
    """Compass, or another one, edited and chosen from."""
    return EXPOPolicy(spec or bounded().spec, EXPOConfig(**{"hidden": (32,), **options}), base or Compass())
