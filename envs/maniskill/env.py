"""Any ManiSkill 3 task as a VecEnv of this suite. Legend: N worlds, one row each; A action size.

Every episode is a function of the seed, the world and how many it has begun, however many processes simulate; on CUDA
of the seed and the order of resets. A continued run goes on inside its episodes, but not to the last bit: PhysX keeps
contacts from step to step that it does not hand out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.configuration import from_mapping
from embodied.types import Obs, StepResult, TaskSpec

from .config import ManiSkillConfig
from .processes import RemoteWorlds, layout
from .simulation import Simulation
from .worlds import CudaWorlds, LocalWorlds, Worlds

DRAWN = 1 << 30
"""The first seed of those that are drawn; ManiSkill takes seeds below 2^31."""


class ManiSkillVecEnv:
    """N worlds of a ManiSkill task; implements :class:`embodied.types.VecEnv`.

    autoreset: rows that end are reset within the step. Turned off, they are shown as they ended, and move on unseen
        until :meth:`reset_rows`.
    observe_later: leave the group ``image`` out of what ``step`` observes, for :meth:`look` to draw it.

    Args:
        example: a simulation of the task, which is asked what it is and then not needed.
        worlds: they share the configuration.
    """

    def __init__(
        self, config: ManiSkillConfig, example: Simulation, worlds: Worlds, *, device: torch.device, seed: int = 0
    ) -> None:
        self.config, self.device, self._worlds, self._seed = config, device, worlds, seed
        self.num_worlds = self.num_rows = len(worlds.fields["action"])
        self.autoreset, self.observe_later = True, False
        self.spec = TaskSpec(
            name=config.name,
            control_dt=example.control_dt,
            physics_dt=example.physics_dt,
            horizon=example.horizon,
            obs=example.groups,
            action=example.action,
            success_metric="success" if example.judged else None,
        )
        self._turns = torch.zeros(self.num_rows, dtype=torch.long)
        self.episode_return = torch.zeros(self.num_rows, device=device)
        self.episode_length = torch.zeros(self.num_rows, dtype=torch.long, device=device)
        self._ever = torch.zeros(self.num_rows, dtype=torch.bool, device=device)

    def reset(self, seed: int | None = None) -> Obs:
        """Start every row afresh; with a seed, from its first episodes."""
        if seed is not None:
            self._seed = seed
            self._turns.zero_()
        self._start(torch.ones(self.num_rows, dtype=torch.bool))
        return self._observe(look=True)

    def step(self, action: Tensor) -> StepResult:
        """Advance every row by one control step; action (N, 1, A) in policy units."""
        expected = (self.num_rows, 1, self.spec.action.size)
        if tuple(action.shape) != expected:
            raise ValueError(f"{self.spec.name}: action of shape {tuple(action.shape)}, expected {expected}")
        self._field("action").copy_(action[:, 0].clamp(-1, 1))
        self._worlds.step(not self.observe_later)
        reward, success = self._shown("reward"), self._shown("success")
        self.episode_return += reward
        self.episode_length += 1
        self._ever |= success
        terminated, truncated = self._ends(success)
        obs = self._observe(look=not self.observe_later)
        result = StepResult(obs, reward, terminated, truncated, obs, {})
        if bool(result.done.any()):
            result.metrics = self._metrics(success)
            if self.autoreset:
                result.obs = self.reset_rows(result.done, obs)
        return result

    def reset_rows(self, mask: Tensor, obs: Obs) -> Obs:
        """Reset the rows of a (N,) bool mask; ``obs`` with what these rows now observe in their places."""
        self._start(mask.cpu())
        now = self._observe(look=True)
        return {name: torch.where(mask.view(-1, *(1,) * (x.dim() - 1)), now[name], x) for name, x in obs.items()}

    def look(self, rows: Tensor) -> Obs:
        """The group ``image`` of all worlds, drawn anew in the rows of a (N,) bool mask; see ``observe_later``."""
        if "image" not in self.spec.obs:
            return {}
        if bool(rows.any()):
            self._worlds.look(rows.nonzero().flatten().tolist())
        return {"image": self._shown("obs/image")}

    def term(self, name: str) -> Tensor:
        """(N, size): what a term of the group ``policy`` says now; with ``autoreset``, where a row ended, of the new
        episode.

        Raises:
            KeyError: there is none of this name.
        """
        start = 0
        for term in self.spec.obs["policy"].terms:
            if term.name == name:
                return self._field("obs/policy")[:, start : start + term.size].to(self.device, copy=True)
            start += term.size
        raise KeyError(f"{self.spec.name} has no observation term {name!r}")

    def state_dict(self) -> dict[str, Any]:
        """What a continuation needs; see this module's header for what it cannot have."""
        return {
            "seed": self._seed,
            "turns": self._turns.clone(),
            "return": self.episode_return.clone(),
            "length": self.episode_length.clone(),
            "ever": self._ever.clone(),
            "worlds": self._worlds.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the same episodes again, and put everything in them where it was."""
        self._seed = int(state["seed"])
        self._turns.copy_(state["turns"] - 1)
        self._start(torch.ones(self.num_rows, dtype=torch.bool))
        for buffer, name in ((self.episode_return, "return"), (self.episode_length, "length"), (self._ever, "ever")):
            buffer.copy_(state[name])
        self._worlds.restore(state["worlds"], self.episode_length.cpu())

    def render(self, row: int = 0) -> np.ndarray:
        """RGB frame of one row, (height, width, 3) uint8."""
        return self._worlds.render(row)

    def close(self) -> None:
        """End processes and scenes."""
        self._worlds.close()

    # Pieces --------------------------------------------------------------------------------------------------

    def _field(self, name: str) -> Tensor:
        return self._worlds.fields[name]

    def _shown(self, name: str) -> Tensor:
        """A field that nobody overwrites."""
        return self._field(name).to(self.device, copy=True)

    def _observe(self, look: bool) -> Obs:
        return {name: self._shown(f"obs/{name}") for name in self.spec.obs if look or name != "image"}

    def _start(self, mask: Tensor) -> None:
        """Begin the next episodes of these worlds (N,) bool."""
        worlds = mask.nonzero().flatten().tolist()
        self._worlds.reset(worlds, [self._episode_seed(world) for world in worlds])
        self._turns[mask] += 1
        for buffer in (self.episode_return, self.episode_length, self._ever):
            buffer[mask.to(self.device)] = 0

    def _episode_seed(self, world: int) -> int:
        turn, episodes = int(self._turns[world]), self.config.episodes
        if episodes:
            return self._seed * episodes + turn * self.num_worlds + world
        return episode_seed(self._seed, world, turn)

    def _ends(self, success: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) bool each: terminated, truncated."""
        mode, never = self.config.on_success, torch.zeros_like(success)
        failed = never if mode == "continue" else self._shown("failed")
        late = self.episode_length >= self.spec.horizon if self.spec.horizon else never
        terminated = failed | (success if mode == "terminate" else never) | (late & self.config.deadline)
        truncated = late | (success if mode == "truncate" else never)
        return terminated, truncated & ~terminated

    def _metrics(self, success: Tensor) -> dict[str, Tensor]:
        """Figures of the episodes so far, (N,) each."""
        figures = {name[7:]: self._shown(name) for name in self._worlds.fields if name.startswith("figure/")}
        found = {**figures, "return": self.episode_return.clone(), "length": self.episode_length.float()}
        if self.spec.success_metric is not None:
            found |= {"success_once": self._ever.float(), "success_at_end": success.float()}
            found["success"] = found["success_once" if self.config.success == "once" else "success_at_end"]
        return found


def episode_seed(seed: int, world: int, turn: int) -> int:
    """In 2^30 ... 2^31 - 1, of a world's episode; those below are for evaluations."""
    return DRAWN + int(np.random.SeedSequence([seed, world, turn]).generate_state(1)[0]) % DRAWN


def make(
    config: Mapping[str, Any],
    *,
    num_worlds: int,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
) -> ManiSkillVecEnv:
    """N worlds of a ManiSkill task from its YAML; see :func:`envs.registry.make`.

    Args:
        engine: ManiSkill brings its own; see the key ``backend``.
        num_threads: processes of the CPU backend, 0: as many as there are processors; one works in this process.
    """
    del engine
    settings: ManiSkillConfig = from_mapping(ManiSkillConfig, config, "task")
    device = torch.device(device)
    if _on_cuda(settings.backend, device):
        cuda = CudaWorlds(settings, num_worlds, device)
        return ManiSkillVecEnv(settings, cuda.simulation, cuda, device=device, seed=seed)
    example = Simulation(settings)
    fields = example.example()
    plan = layout({**fields, "action": torch.zeros(1, example.action.size)}, num_worlds)
    example.close()
    workers = min(num_threads or len(os.sched_getaffinity(0)), num_worlds)
    worlds: Worlds
    if workers > 1:
        worlds = RemoteWorlds(settings, plan, workers)
    else:
        empty = {name: torch.from_numpy(np.zeros(shape, dtype)) for name, (shape, dtype) in plan.items()}
        worlds = LocalWorlds(settings, empty, 0, num_worlds)
    return ManiSkillVecEnv(settings, example, worlds, device=device, seed=seed)


def _on_cuda(backend: str, device: torch.device) -> bool:
    """ValueError where the backend cannot work on the device."""
    if backend == "physx_cuda" and device.type != "cuda":
        raise ValueError(f"task.backend=physx_cuda needs device=cuda, got {device}; choose physx_cpu or auto")
    return backend != "physx_cpu" and device.type == "cuda"
