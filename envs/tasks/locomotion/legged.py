"""What every legged task shares: buffers, delays, pushes, and the :class:`LeggedState` that its terms see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodied.configuration import choice, from_mapping
from embodied.types import ActionSpec, Mirror, Obs, TaskSpec

from ...mdp import rewards, terminations
from ...mdp.commands import CommandConfig, VelocityCommand
from ...mdp.frames import rotate_inverse, yaw
from ...mdp.groups import ObservationGroups
from ...mdp.mirrors import gait_mirror, leg_mirror
from ...mdp.pushes import PushConfig, Pushes
from ...mdp.scan import HeightScan, ScanConfig
from ...mdp.state import LeggedState, base_motion, leg_phase
from ...mdp.terms import WeightedTerms, bind
from ...mujoco.physics import Physics
from ...mujoco.randomization import Randomizer, parse, robot_parts
from ...mujoco.terrain import Ground
from ...mujoco.vec_env import MujocoVecEnv, span
from ...robots.robot import Robot
from .config import DelayConfig, GaitConfig, LeggedConfig


class LeggedEnv(MujocoVecEnv):
    """N worlds of one legged robot. Subclasses choose the start of an episode and the episode's figures.

    initial_keys: what ``config.initial`` may say of that start.
    """

    initial_keys: tuple[str, ...] = ()

    def __init__(self, config: LeggedConfig, robot: Robot, physics: Physics, ground: Ground, seed: int) -> None:
        super().__init__(physics, substeps=config.substeps, seed=seed)
        self.config, self.robot, self.ground = config, robot, ground
        self.dt = config.control_dt
        for key in config.initial:
            choice("task.initial", key, self.initial_keys)
        self.command = VelocityCommand(
            from_mapping(CommandConfig, config.commands, "task.commands"), self.num_worlds, self.device, self.dt
        )
        self._gait: GaitConfig = from_mapping(GaitConfig, config.gait, "task.gait")
        push: PushConfig = from_mapping(PushConfig, config.push, "task.push")
        self.pushes = Pushes(push, self.num_worlds, self.device, self.dt)
        self._delay: DelayConfig = from_mapping(DelayConfig, config.delay, "task.delay")
        self._delay.check(self.dt)
        legs = list(robot.leg_names)
        self._gait.check(legs)
        self._bind_fields()
        self._make_buffers()
        parts = robot_parts(
            physics.model, "base", [f"{leg}_foot" for leg in legs], robot.spec.joint_names, robot.spec.joint_names
        )
        self.randomizer = Randomizer(parse(config.randomization), physics, parts)
        self._make_terms()
        self.spec = self._make_spec()

    # Construction --------------------------------------------------------------------------------------------

    def _bind_fields(self) -> None:
        model, spec = self.physics.model, self.robot.spec
        self._qpos, self._qvel = self.physics.field("qpos"), self.physics.field("qvel")
        self._ctrl, self._force = self.physics.field("ctrl"), self.physics.field("actuator_force")
        self._sites, self._sensors = self.physics.field("site_xpos"), self.physics.field("sensordata")
        legs = self.robot.leg_names
        self._foot_sites = span([model.site(f"{leg}_foot").id for leg in legs], self.device)
        self._foot_sensors = self._sensor_columns([f"{leg}_foot_contact" for leg in legs])
        body = [model.sensor(i).name for i in range(model.nsensor)]
        body = [name for name in body if name.endswith("_contact") and not name.endswith("foot_contact")]
        self._body_sensors = self._sensor_columns(body)

        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=self.device)

        self._default, self._low, self._high = map(vector, (spec.default_joint_pos, spec.joint_low, spec.joint_high))
        self._offsets = vector([self._gait.offsets[leg] for leg in legs])
        self._gait_mirror = gait_mirror(self._offsets, legs)
        scan = None if self.config.scan is None else from_mapping(ScanConfig, self.config.scan, "task.scan")
        self._scan = HeightScan(scan, self.device)

    def _sensor_columns(self, names: list[str]) -> slice | Tensor:
        return span([int(self.physics.model.sensor(name).adr[0]) for name in names], self.device)

    def _make_buffers(self) -> None:
        n, joints, legs = self.num_worlds, len(self._default), len(self._offsets)

        def zeros(*shape: int, **kind: Any) -> Tensor:
            return torch.zeros(n, *shape, device=self.device, **kind)

        self._buffers = {
            "action": zeros(joints),
            "action_1": zeros(joints),
            "action_2": zeros(joints),
            "target": zeros(joints),
            "clock": zeros(),
            "air_time": zeros(legs),
            "contact": zeros(legs, dtype=torch.bool),
            "foot_pos": zeros(legs, 3),
            "encoder_bias": zeros(joints),
            "action_delay": zeros(dtype=torch.long),
            "obs_delay": zeros(dtype=torch.bool),
            "swing_peak": zeros(legs),
            "start": zeros(3),
            "asked": zeros(2),  # m, from the start to where the command led
        }
        self._ended = zeros(dtype=torch.bool)
        self._landed = zeros(legs, dtype=torch.bool)
        self._flight = zeros(legs)
        self._foot_vel = zeros(legs, 3)
        self._friction, self._added_mass, self._com_shift = zeros() + 1.0, zeros(), zeros(3)
        self._nominal_friction = float(self.physics.model.geom(f"{self.robot.leg_names[0]}_foot").friction[0])

    def _make_terms(self) -> None:
        given = {
            "low": self._low,
            "high": self._high,
            "duty": self._gait.duty,
            "frequency": self._gait.frequency,
            "target": self.robot.spec.base_height,
        }
        self._rewards = WeightedTerms(rewards, self.config.rewards, given)
        self._reward_sums = torch.zeros(self.num_worlds, len(self._rewards.names), device=self.device)
        self._ends = {
            name: bind(terminations, name, options, given)
            for name, options in self.config.terminations.items()
            if options is not None
        }
        joints, legs = self.robot.spec.joint_names, self.robot.leg_names
        self.groups = ObservationGroups(
            self.config.observations,
            {
                "frequency": self._gait.frequency,
                "offset": self._gait.offsets[legs[0]],
                "dead_band": self.command.config.dead_band,
                "settle_s": self.command.config.settle_s,
            },
            self._read(torch.arange(1, device=self.device)),
            {
                "joint": self.robot.joint_mirror,
                "leg": leg_mirror(legs),
                "scan": self._scan.mirror,
                "gait": self._gait_mirror or Mirror((0, 1), (1.0, 1.0)),
            },
            {"joint": joints, "leg": legs},
        )
        late = self._delay.observation_s[1] > 0
        size = self.groups.groups["policy"].shape[0]
        self._previous_obs = torch.zeros(self.num_worlds, size, device=self.device) if late else None

    def _make_spec(self) -> TaskSpec:
        spec, c = self.robot.spec, self.config
        action = ActionSpec(
            names=spec.joint_names,
            unit="rad",
            kind="joint_position",
            offset=spec.default_joint_pos,
            scale=(c.action_scale,) * len(spec.joint_names),
            low=None if c.action_limit is None else -c.action_limit,
            high=c.action_limit,
            command_low=spec.joint_low,
            command_high=spec.joint_high,
        )
        return TaskSpec(
            name=c.name,
            control_dt=c.control_dt,
            physics_dt=c.physics_dt,
            horizon=round(c.episode_length_s / c.control_dt),
            obs=self.groups.groups,
            action=action,
            success_metric="success",
            command=self.command.config.limits,
            robot=spec,
            symmetry=self.groups.symmetry(self.robot.joint_mirror) if self._gait_mirror else None,
        )

    # A step --------------------------------------------------------------------------------------------------

    def apply_action(self, action: Tensor) -> None:
        """Joint targets ``default + scale * action``, held within the joint limits, after the world's delay."""
        b = self._buffers
        b["action_2"].copy_(b["action_1"])
        b["action_1"].copy_(b["action"])
        limit = self.config.action_limit
        b["action"].copy_(action if limit is None else action.clamp(-limit, limit))
        target = torch.clamp(self._default + self.config.action_scale * b["action"], self._low, self._high)
        if self._delay.action_s[1] <= 0:
            self._ctrl.copy_(target)
            self.physics.step(self.substeps)
        else:
            self._delayed_step(b["target"], target)
        b["target"].copy_(target)

    def _delayed_step(self, before: Tensor, target: Tensor) -> None:
        """The old target for the world's first ``action_delay`` substeps, then the new one."""
        delay = self._buffers["action_delay"]
        # the longest that can be drawn; the longest that was drawn would have to be asked of the device
        last = min(round(self._delay.action_s[1] / self.config.physics_dt), self.substeps)
        for substep in range(last):
            self._ctrl.copy_(torch.where((delay > substep)[:, None], before, target))
            self.physics.step(1)
        if last < self.substeps:
            self._ctrl.copy_(target)
            self.physics.step(self.substeps - last)

    def after_physics(self) -> None:
        """Clock, contact timers and foot velocities; then the state of this step."""
        b = self._buffers
        b["clock"].add_(self._gait.frequency * self.dt).remainder_(1.0)
        touching = self._sensors[:, self._foot_sensors] > 0
        self._landed.copy_(touching & ~b["contact"])
        self._flight.copy_(b["air_time"]).add_(self.dt)
        b["air_time"].copy_(self._flight).masked_fill_(touching, 0.0)
        b["contact"].copy_(touching)
        feet = self._sites[:, self._foot_sites].float()
        self._foot_vel.copy_(feet).sub_(b["foot_pos"]).div_(self.dt)
        b["foot_pos"].copy_(feet)
        if self.ground.curriculum:
            b["asked"] += self.command.displacement(yaw(self._qpos[:, 3:7].float()))
        self._state = self._read()

    def _read(self, worlds: Tensor | None = None) -> LeggedState:
        """The state of these worlds, or of all."""
        b, at = self._buffers, slice(None) if worlds is None else worlds
        qpos, qvel = self._qpos[at].float(), self._qvel[at].float()
        joint_pos = qpos[:, 7:]
        feet, phase = b["foot_pos"][at], leg_phase(b["clock"][at], self._offsets)
        sole = feet[..., 2] - self.robot.foot_radius - self.ground.height(feet[..., :2])
        body = self._sensors[at][:, self._body_sensors].float().sum(-1)
        return LeggedState(
            **base_motion(qpos, qvel),
            base_height=qpos[:, 2] - self.ground.height(qpos[:, :2]),
            joint_pos=joint_pos,
            joint_vel=qvel[:, 6:],
            joint_offset=joint_pos - self._default,
            torque=self._force[at].float(),
            action=b["action"][at],
            action_1=b["action_1"][at],
            action_2=b["action_2"][at],
            command=self.command.value[at],
            moving=self.command.moving[at],
            phase=phase,
            foot_height=sole,
            foot_vel_w=self._foot_vel[at],
            contact=b["contact"][at],
            air_time=self._flight[at],
            landed=self._landed[at],
            body_contact=body,
            encoder_bias=b["encoder_bias"][at],
            friction=self._friction[at],
            added_mass=self._added_mass[at],
            com_shift=self._com_shift[at],
            height_scan=self._scan(qpos, self.ground.height, self.robot.spec.base_height),
        )

    def reward(self) -> Tensor:
        """The weighted terms, times the control period."""
        total, parts = self._rewards(self._state)
        self._reward_sums += parts * self.dt
        return total * self.dt

    def end_reward(self, terminated: Tensor) -> Tensor:
        """What the end of an episode costs, (N,)."""
        return terminated * -self.config.termination_penalty

    def terminated(self) -> Tensor:
        """Any termination term."""
        ended = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        for term in self._ends.values():
            ended |= term(self._state)
        self._ended.copy_(ended)
        return ended

    def cut_short(self) -> Tensor | None:
        """Worlds at the end of the field."""
        return self.ground.outside(self._state.base_pos_w[:, :2])

    def before_observe(self) -> None:
        """New commands and pushes, which the policy sees or feels from the next observation on."""
        self.command.step(self.generator)
        pushed = self.pushes.step(self._qvel, self.generator)
        self._state.command, self._state.moving = self.command.value, self.command.moving
        if pushed is not None:
            quat, lin_vel_w = self._qpos[pushed, 3:7].float(), self._qvel[pushed, :3].float()
            self._state.lin_vel_b[pushed] = rotate_inverse(quat, lin_vel_w)

    def observe(self, worlds: Tensor | None = None) -> Obs:
        """Groups of all worlds, or of these just after their reset; the policy's may be a period late."""
        if worlds is not None:
            obs = self.groups(self._read(worlds), self.generator)
            if self._previous_obs is not None:
                self._previous_obs[worlds] = obs["policy"]
            return obs
        obs = self.groups(self._state, self.generator)
        if self._previous_obs is not None:
            now = obs["policy"]
            obs["policy"] = torch.where(self._buffers["obs_delay"][:, None], self._previous_obs, now)
            self._previous_obs.copy_(now)
        return obs

    # Reset ---------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> Obs:
        """Start every world afresh. A seed also starts the curriculum afresh."""
        if seed is not None:
            self.ground.restart(seed)
            self._buffers["asked"].zero_()  # what was walked before moves nobody
        return super().reset(seed)

    def on_reset(self, worlds: Tensor) -> None:
        """Curriculum, randomisation, commands, delays; clear the buffers."""
        b = self._buffers
        self._update_curriculum(worlds)
        self.randomizer.draw(worlds, self.generator)
        self._remember_draws(worlds)
        self.command.reset(worlds, self.generator)
        for name in ("action", "action_1", "action_2", "air_time", "swing_peak", "contact", "asked"):
            b[name][worlds] = 0
        self._reward_sums[worlds] = 0.0
        self._foot_vel[worlds], self._landed[worlds], self._flight[worlds] = 0.0, False, 0.0
        self._ended[worlds] = False
        n = len(worlds)
        b["target"][worlds] = self._default
        b["clock"][worlds] = self.uniform(n, 0.0, 1.0)
        b["encoder_bias"][worlds] = self.uniform(n, -self.config.encoder_bias, self.config.encoder_bias, len(self._low))
        self.pushes.draw(worlds, self.generator)
        delay = self.uniform(n, *self._delay.action_s) / self.config.physics_dt
        b["action_delay"][worlds] = delay.round().long()
        late = self.uniform(n, *self._delay.observation_s) / self.dt
        b["obs_delay"][worlds] = late.round() >= 1

    def _update_curriculum(self, worlds: Tensor) -> None:
        if not self.ground.curriculum:
            return
        b = self._buffers
        asked = b["asked"][worlds].norm(dim=-1)
        walked = (self._qpos[worlds, :2].float() - b["start"][worlds, :2]).norm(dim=-1)
        counts = (asked > 0) & ~self.physics.failed()[worlds]  # a broken world is nowhere
        self.ground.update_levels(
            worlds[counts], walked[counts], asked[counts], self._ended[worlds][counts], self.generator
        )

    def _remember_draws(self, worlds: Tensor) -> None:
        samples = self.randomizer.samples
        self._friction[worlds] = self._nominal_friction
        if "foot_friction" in samples:
            self._friction[worlds] = samples["foot_friction"][worlds, 0]
        if "base_mass" in samples:
            self._added_mass[worlds] = samples["base_mass"][worlds, 0]
        if "base_com" in samples:
            self._com_shift[worlds] = samples["base_com"][worlds]

    def _start(self, worlds: Tensor) -> None:
        super()._start(worlds)
        self._buffers["foot_pos"][worlds] = self._sites[worlds][:, self._foot_sites].float()
        self._buffers["contact"][worlds] = self._sensors[worlds][:, self._foot_sensors] > 0

    # Figures and state ---------------------------------------------------------------------------------------

    def episode_metrics(self) -> dict[str, Tensor]:
        """Each reward term's sum over the episode, and the curriculum's figures."""
        sums = {f"reward/{name}": self._reward_sums[:, i] for i, name in enumerate(self._rewards.names)}
        return sums | self.ground.metrics

    def task_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {f"buffer/{name}": value.clone() for name, value in self._buffers.items()}
        state |= {f"sample/{name}": value.clone() for name, value in self.randomizer.samples.items()}
        late = {} if self._previous_obs is None else {"obs": self._previous_obs.clone()}
        return {
            "buffers": state,
            "reward_sums": self._reward_sums.clone(),
            "privileged": torch.cat([self._friction[:, None], self._added_mass[:, None], self._com_shift], -1),
            "command": self.command.state_dict(),
            "ground": self.ground.state_dict(),
            "push_time": self.pushes.time_left.clone(),
            "late": late,
        }

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        for name, value in self._buffers.items():
            value.copy_(state["buffers"][f"buffer/{name}"])
        for name, value in self.randomizer.samples.items():
            value.copy_(state["buffers"][f"sample/{name}"])
        self._reward_sums.copy_(state["reward_sums"])
        privileged = state["privileged"]
        self._friction.copy_(privileged[:, 0])
        self._added_mass.copy_(privileged[:, 1])
        self._com_shift.copy_(privileged[:, 2:5])
        self.command.load_state_dict(state["command"])
        self.ground.load_state_dict(state["ground"])
        self.pushes.time_left.copy_(state["push_time"])
        if self._previous_obs is not None:
            self._previous_obs.copy_(state["late"]["obs"])
