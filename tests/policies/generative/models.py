"""Tasks, small policies and networks that are known in closed form, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import policies
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from policies.generative.denoisers import in_turn
from policies.generative.process import denoise, predictor

CHUNK = (2, 3)
SPEC = TaskSpec(
    name="chunked",
    control_dt=0.1,
    horizon=10,
    obs={"policy": ObsGroup.of(ObsTerm("x", 5)), "critic": ObsGroup.of(ObsTerm("y", 7))},
    action=ActionSpec(("a", "b", "c"), chunk=CHUNK[0]),
)
SMALL: dict[str, Any] = {
    "critic_hidden": [8],
    "mlp": {"hidden": [16, 16], "time_size": 4},
    "unet": {"channels": [8, 16], "groups": 4, "kernel_size": 3, "time_size": 4},
    "transformer": {"width": 8, "depth": 2, "heads": 2, "time_size": 4},
    "diffusion": {"train_steps": 4},
}


def observations(rows: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {"policy": torch.randn(rows, 5, dtype=dtype), "critic": torch.randn(rows, 7, dtype=dtype)}


def disturb(policy: Any, size: float = 0.1) -> Any:
    """Away from the initial weights, where an output near zero would hide mistakes."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return policy


def small(kind: str, spec: TaskSpec = SPEC, **more: Any) -> Any:
    """A small policy in double precision, disturbed."""
    return disturb(policies.make(SMALL | {"kind": kind} | more, spec)).double()


class Told:
    """A function of (x, t, cond) or (x, t, cond, r) as a denoiser: its embedding of the times is the times."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def embed_times(self, t: Tensor, r: Tensor | None = None) -> Tensor:
        return torch.stack([t] if r is None else [t, r], -1)

    def __call__(self, x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        t, *r = (time if len(time) == 1 else in_turn(time, len(x))).unbind(-1)
        return self.function(x, t, cond, *r)


def sampled(process: Any, function: Callable[..., Tensor], noise: Tensor, cond: Tensor) -> list[Tensor]:
    """The chain x_0 .. x_K of a denoiser that is a function."""
    return denoise(process, predictor(process, Told(function), cond), noise)


def at_time(network: Any, x: Tensor, t: float, cond: Tensor) -> Tensor:
    """What a network says of x (B, H, A) at a time that all rows share."""
    return network(x, network.embed_times(x.new_full((1,), t)), cond)


class GaussianVelocity:
    """The exact velocity of the flow from N(0, 1) to N(mean, std^2) on straight ways, element by element.

    x_t = t a + (1 - t) e is Gaussian with mean t m and variance t^2 s^2 + (1 - t)^2; a - e given x_t is linear in x_t.
    """

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std

    def slope(self, t: float) -> float:
        variance = t**2 * self.std**2 + (1 - t) ** 2
        return (t * self.std**2 - (1 - t)) / variance

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        now = float(t.flatten()[0])
        return self.mean + self.slope(now) * (x - now * self.mean)
