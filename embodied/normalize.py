"""Running standardisation of observations, rewards and values.

All statistics are float64, merged by the pairwise rule of Chan et al. (1979), reduced over ranks, and FROZEN within a
rollout: ``accumulate`` only takes notes, ``commit`` applies them once the update is done. So a stored
log-probability and its later evaluation see the same inputs, and the ratio starts at 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from . import distributed
from .returns import discounted_returns
from .types import Mirror, Obs, ObsGroup, Symmetry, TaskSpec


class RunningMoments(nn.Module):
    """Mean and variance of rows of one shape.

    mirror: a reflection under which the statistics shall be symmetric: each row then counts as itself and its mirror
        image, half each, and standardising commutes with mirroring.
    """

    mean: Tensor
    var: Tensor
    count: Tensor
    shift: Tensor
    gain: Tensor

    def __init__(self, shape: tuple[int, ...] = (), eps: float = 1e-4, mirror: Mirror | None = None) -> None:
        super().__init__()
        self.eps = eps
        self.mirror = mirror
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        # What the forward pass reads: float32 copies of the mean and of 1 / standard deviation.
        self.register_buffer("shift", torch.zeros(shape), persistent=False)
        self.register_buffer("gain", torch.ones(shape), persistent=False)
        self._refresh()
        self._pending: list[Tensor] | None = None
        self.register_load_state_dict_post_hook(lambda module, _: module._refresh())

    def _refresh(self) -> None:
        self.shift = self.mean.float()
        self.gain = (self.var + self.eps).rsqrt().float()

    def forward(self, x: Tensor) -> Tensor:
        """Standardised x (..., *shape)."""
        return (x - self.shift) * self.gain

    def inverse(self, z: Tensor) -> Tensor:
        """The x whose standardised form is z."""
        return z / self.gain + self.shift

    @torch.no_grad()
    def accumulate(self, x: Tensor) -> None:
        """Note rows x (n, *shape) for the next :meth:`commit`; the statistics in use do not change."""
        centred = x.double() - self.mean  # sums about the frozen mean, so that squares do not cancel
        notes = [centred.new_tensor(float(x.shape[0])), centred.sum(0), centred.square_().sum(0)]
        if self._pending is None:
            self._pending = notes
        else:
            for pending, note in zip(self._pending, notes, strict=True):
                pending += note

    @torch.no_grad()
    def commit(self) -> None:
        """Merge what was noted on all ranks into the statistics."""
        if self._pending is None:
            return
        count, first, second = self._pending
        self._pending = None
        for note in (count, first, second):
            distributed.sum_(note)
        if count == 0:
            return
        first, second = first / count, second / count
        mean, var = self.mean + first, (second - first.square()).clamp_min(0.0)
        if self.mirror is not None:
            mean, var = symmetric_moments(mean, var, self.mirror)
        self._merge(mean, var, count)

    def _merge(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        total = self.count + count
        delta, share = mean - self.mean, count / total
        self.var = self.var * (1 - share) + var * share + delta.square() * share * (1 - share)
        self.mean = self.mean + delta * share
        self.count = total
        self._refresh()


def symmetric_moments(mean: Tensor, var: Tensor, mirror: Mirror) -> tuple[Tensor, Tensor]:
    """Moments of an even mixture of x and its mirror image, from the moments (..., D) of x."""
    mirrored_mean = mirror(mean)
    mirrored_var = var[..., list(mirror.index)]
    return 0.5 * (mean + mirrored_mean), 0.5 * (var + mirrored_var) + 0.25 * (mean - mirrored_mean).square()


class ObsNormalizer(nn.Module):
    """Standardises the groups whose spec says so and clips them; other groups pass through untouched.

    groups: name -> ObsGroup.  clip: in standard deviations.  eps: added to the variance, so a feature that never
        varied is not blown up when it first does.
    """

    def __init__(
        self, groups: Mapping[str, ObsGroup], clip: float = 10.0, eps: float = 1e-4, symmetry: Symmetry | None = None
    ) -> None:
        super().__init__()
        mirrors = symmetry.obs if symmetry is not None else {}
        self.clip = clip
        self.frozen = False
        self.moments = nn.ModuleDict(
            {
                name: RunningMoments(group.shape, eps, mirrors.get(name))
                for name, group in groups.items()
                if group.normalize
            }
        )

    @classmethod
    def of(cls, spec: TaskSpec, symmetric: bool = False, clip: float = 10.0, eps: float = 1e-4) -> ObsNormalizer:
        """The normaliser of a task; ``symmetric`` uses the task's symmetry, if it has one."""
        return cls(spec.obs, clip, eps, spec.symmetry if symmetric else None)

    def forward(self, obs: Obs) -> Obs:
        """Observations (B, ...) as policies see them."""
        return {name: self._standardise(name, x) for name, x in obs.items()}

    def _standardise(self, name: str, x: Tensor) -> Tensor:
        if name not in self.moments:
            return x
        return self.moments[name](x).clamp_(-self.clip, self.clip)

    def accumulate(self, obs: Obs, active: Tensor | None = None) -> None:
        """Note raw observations for :meth:`commit`; rows with ``active`` (B,) False do not count."""
        if self.frozen:
            return
        for name, moments in self.moments.items():
            rows = obs[name] if active is None else obs[name][active]
            cast(RunningMoments, moments).accumulate(rows)

    def commit(self) -> None:
        """Apply what was noted; call it between the update and the next rollout."""
        for moments in self.moments.values():
            cast(RunningMoments, moments).commit()


class RewardScaler(nn.Module):
    """Divides rewards by the running standard deviation of the discounted return; the mean is not taken off.

    The rollout's own returns count before it is scaled, so even the first rollout is scaled sensibly.
    """

    carried: Tensor

    def __init__(self, rows: int, gamma: float, clip: float = 10.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.gamma, self.clip = gamma, clip
        self.moments = RunningMoments((), eps)
        self.register_buffer("carried", torch.zeros(rows))

    @torch.no_grad()
    def scale(self, reward: Tensor, done: Tensor, active: Tensor | None = None) -> Tensor:
        """Scaled and clipped rewards (T, B), after the statistics have seen them."""
        sums, self.carried = discounted_returns(reward, done, self.carried, self.gamma)
        self.moments.accumulate(sums.flatten() if active is None else sums[active])
        self.moments.commit()
        return (reward * self.moments.gain).clamp(-self.clip, self.clip)
