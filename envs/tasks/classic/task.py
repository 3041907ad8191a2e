"""The classic MuJoCo benchmarks on the batch engine: Gymnasium's models, laws and limits (its ``envs/mujoco/*_v5``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium
import mujoco
import torch
from torch import Tensor

from embodied.configuration import from_mapping
from embodied.types import Obs, ObsGroup, TaskSpec
from envs.mdp.terms import WeightedTerms, bind
from envs.mujoco.physics import Physics, make_physics
from envs.mujoco.quiet import quiet
from envs.mujoco.vec_env import MujocoVecEnv

from . import layout, rewards, terminations
from .contact_forces import ContactForces, add_force_sensor
from .state import ClassicState

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"


@dataclass(frozen=True)
class ClassicConfig:
    """A classic task.

    model: an MJCF file among Gymnasium's assets.  frame_skip: physics steps a control step.
    skip: leading coordinates that are not observed, so that the task looks the same everywhere.
    velocity_limit: observed velocities are clipped to +- this [m/s, rad/s].
    contact_limit: contact torques and forces are clipped to +- this [N m, N], observed and priced; None: not computed.
    velocity_from: ``qpos``, or ``xpos``: the root body's position as of the last evaluation of the dynamics.
    position_noise: the start's coordinates are the model's + U(-noise, noise).
    velocity_noise: the start's velocities are noise times U(-1, 1) or N(0, 1), whichever ``velocity_law`` says.
    clip_actions: to the control range before they are priced. Gymnasium's own environments price what they are given
        and leave the clipping to MuJoCo; for actions inside their action space the two are the same.
    """

    name: str
    kind: str
    model: str
    description: str = ""
    frame_skip: int = 5
    horizon: int = 1000
    skip: int = 1
    velocity_limit: float | None = None
    contact_limit: float | None = None
    velocity_from: Literal["qpos", "xpos"] = "qpos"
    position_noise: float = 0.1
    velocity_noise: float = 0.1
    velocity_law: Literal["uniform", "normal"] = "normal"
    clip_actions: bool = True
    rewards: Mapping[str, Any] = field(default_factory=dict)
    terminations: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, valid in {"velocity_from": ("qpos", "xpos"), "velocity_law": ("uniform", "normal")}.items():
            if getattr(self, key) not in valid:
                raise ValueError(f"{self.name}: {key} is {getattr(self, key)!r}; choose from {', '.join(valid)}")


class ClassicEnv(MujocoVecEnv):
    """N worlds of one classic task. Positions along the ground are not observed; the reward is for moving along x."""

    def __init__(self, config: ClassicConfig, physics: Physics, seed: int = 0) -> None:
        super().__init__(physics, substeps=config.frame_skip, seed=seed)
        self.config = config
        self.spec = _make_spec(config, physics.model)
        self._qpos, self._qvel, self._ctrl = (physics.field(name) for name in ("qpos", "qvel", "ctrl"))
        self._xpos = physics.field("xpos") if config.velocity_from == "xpos" else None
        self._limit = config.contact_limit or 0.0
        self._contacts = None if config.contact_limit is None else ContactForces(physics)
        self._terms = WeightedTerms(rewards, config.rewards, {})
        self._ends = [bind(terminations, name, options, {}) for name, options in config.terminations.items()]
        self._free = physics.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
        zeros: dict[str, Any] = {"dtype": physics.dtype, "device": self.device}
        bodies = physics.model.nbody if self._contacts is not None else 0
        self._forces = torch.zeros(self.num_worlds, bodies, 6, **zeros)
        self._x = torch.zeros(self.num_worlds, **zeros)
        self._sums = torch.zeros(self.num_worlds, len(self._terms.names), **zeros)

    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        qpos, qvel = self.draw_start(worlds)
        self._x[worlds] = qpos[:, 0]
        return qpos, qvel

    def draw_start(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (n, nq) and velocities (n, nv) of an episode's start."""
        model, c, rows = self.physics.model, self.config, len(worlds)
        # start position: qpos0 + U(-noise, noise), a free root's quaternion included
        qpos = self.uniform(rows, -c.position_noise, c.position_noise, model.nq).to(self.physics.dtype)
        qpos = qpos + torch.as_tensor(model.qpos0, dtype=self.physics.dtype, device=self.device)
        if c.velocity_law == "uniform":
            return qpos, self.uniform(rows, -c.velocity_noise, c.velocity_noise, model.nv).to(self.physics.dtype)
        normal = torch.randn(rows, model.nv, generator=self.generator, device=self.device)
        return qpos, c.velocity_noise * normal.to(self.physics.dtype)

    def on_reset(self, worlds: Tensor) -> None:
        self._sums[worlds] = 0.0
        self._forces[worlds] = 0.0  # Gymnasium's reset leaves them at zero as well

    def apply_action(self, action: Tensor) -> None:
        self._action = action.to(self.physics.dtype)
        if self.config.clip_actions:
            self._action = self._action.clamp(self.spec.action.low, self.spec.action.high)
        self._ctrl.copy_(self._action)
        self.physics.step(self.substeps)

    def after_physics(self) -> None:
        x = self._qpos[:, 0] if self._xpos is None else self._xpos[:, 1, 0]
        velocity, self._x = (x - self._x) / self.spec.control_dt, x.clone()
        if self._contacts is not None:
            self._forces = self._contacts().clamp(-self._limit, self._limit)
        self._state = self._make_state(velocity)
        for end in self._ends:
            self._state.healthy &= ~end(self._state)

    def reward(self) -> Tensor:
        total, parts = self._terms(self._state)
        self._sums += parts
        return total.float()

    def terminated(self) -> Tensor:
        return ~self._state.healthy

    def observe(self, worlds: Tensor | None = None) -> Obs:
        qpos, qvel, forces = self._qpos, self._qvel, self._forces
        if worlds is not None:
            qpos, qvel, forces = qpos[worlds], qvel[worlds], forces[worlds]
        if (limit := self.config.velocity_limit) is not None:
            qvel = qvel.clamp(-limit, limit)
        parts = [qpos[:, self.config.skip :], qvel, forces[:, 1:].flatten(1)]
        return {"policy": torch.cat(parts, dim=-1).float()}

    def episode_metrics(self) -> dict[str, Tensor]:
        names = [f"reward/{name}" for name in self._terms.names]
        sums = dict(zip(names, self._sums.float().unbind(-1), strict=True))
        return sums | {"distance": (self._x - float(self.physics.model.qpos0[0])).float()}

    def task_state(self) -> dict[str, Any]:
        return {"x": self._x.clone(), "forces": self._forces.clone(), "sums": self._sums.clone()}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        self._x, self._forces, self._sums = (state[name].to(self.device).clone() for name in ("x", "forces", "sums"))

    def _make_state(self, velocity: Tensor) -> ClassicState:
        healthy = torch.ones(self.num_worlds, dtype=torch.bool, device=self.device)
        height, pitch = (self._qpos[:, 2], None) if self._free else (self._qpos[:, 1], self._qpos[:, 2])
        return ClassicState(height, pitch, self._qpos, self._qvel, velocity, self._action, self._forces, healthy)


def load_model(config: ClassicConfig) -> mujoco.MjModel:
    """The compiled model, with what contact forces need. Raises ValueError naming the assets for an unknown file."""
    path = ASSETS / config.model
    if not path.is_file():
        known = sorted(asset.name for asset in ASSETS.glob("*.xml"))
        raise ValueError(f"{config.name}: no model {config.model!r}; choose from {', '.join(known)}")
    with quiet():  # MuJoCo deprecates an attribute of one of the files
        if config.contact_limit is None:
            return mujoco.MjModel.from_xml_path(str(path))
        spec = mujoco.MjSpec.from_file(str(path))
        add_force_sensor(spec)
        return spec.compile()


def make(
    config: Mapping[str, Any],
    *,
    num_worlds: int,
    device: str | torch.device = "cpu",
    engine: str = "auto",
    num_threads: int = 0,
    seed: int = 0,
) -> ClassicEnv:
    """N worlds of a classic task from its YAML; see :func:`envs.registry.make`."""
    settings: ClassicConfig = from_mapping(ClassicConfig, config, "task")
    model = load_model(settings)
    physics = make_physics(model, num_worlds, engine=engine, device=device, num_threads=num_threads)
    return ClassicEnv(settings, physics, seed)


def _make_spec(config: ClassicConfig, model: mujoco.MjModel) -> TaskSpec:
    terms = [*layout.position_terms(model, config.skip), *layout.velocity_terms(model)]
    if config.contact_limit is not None:
        terms.append(layout.contact_term(model))
    dt = model.opt.timestep
    return TaskSpec(
        name=config.name,
        control_dt=dt * config.frame_skip,
        horizon=config.horizon,
        obs={"policy": ObsGroup.of(*terms)},
        action=layout.action_spec(model, config.clip_actions),
        physics_dt=dt,
    )
