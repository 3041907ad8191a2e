"""What every legged task shares: buffers, delays, pushes, and the :class:`LeggedState` that its terms see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from embodied.configuration import choice, from_mapping
from embodied.types import ActionSpec, Mirror, Obs, TaskSpec

from ...mdp import rewards, terminations
from ...mdp.buffers import Buffers
from ...mdp.commands import CommandConfig, VelocityCommand
from ...mdp.frames import rotate_inverse, yaw
from ...mdp.groups import ObservationGroups
from ...mdp.mirrors import gait_mirror, leg_mirror
from ...mdp.pushes import PushConfig, Pushes
from ...mdp.scan import HeightScan, ScanConfig
from ...mdp.state import LeggedState, base_motion, leg_phase
from ...mdp.terms import WeightedTerms, bind
from ...mujoco.physics import Physics
from ...mujoco.terrain import Ground
from ...mujoco.vec_env import MujocoVecEnv, Schedule
from ...robots.robot import Robot
from .config import DelayConfig, GaitConfig, LeggedConfig
from .drawn import DrawnPhysics
from .readings import Readings


class LeggedEnv(MujocoVecEnv):
    """N worlds of one legged robot. Subclasses choose the start of an episode and the episode's figures.

    initial_keys: what ``config.initial`` may say of that start.
    own_buffers: what a subclass remembers of a world, name -> shape; zero at the start of an episode.
    """

    initial_keys: tuple[str, ...] = ()
    own_buffers: ClassVar[Mapping[str, tuple[int, ...]]] = {}

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
        self._bind_robot()
        self.physics_draws = DrawnPhysics(config.randomization, robot, physics)
        self._make_rewards()
        self._make_buffers()
        self._make_terms()
        self.spec = self._make_spec()

    # Construction --------------------------------------------------------------------------------------------

    def _bind_robot(self) -> None:
        spec, legs = self.robot.spec, self.robot.leg_names
        self._readings = Readings(self.physics, legs)
        self._qpos, self._qvel = self._readings.qpos, self._readings.qvel

        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=self.device)

        self._default, self._low, self._high = map(vector, (spec.default_joint_pos, spec.joint_low, spec.joint_high))
        self._offsets = vector([self._gait.offsets[leg] for leg in legs])
        self._gait_mirror = gait_mirror(self._offsets, legs)
        scan = None if self.config.scan is None else from_mapping(ScanConfig, self.config.scan, "task.scan")
        self._scan = HeightScan(scan, self.device)

    def _make_rewards(self) -> None:
        self._given = {
            "low": self._low,
            "high": self._high,
            "duty": self._gait.duty,
            "frequency": self._gait.frequency,
            "target": self.robot.spec.base_height,
        }
        self._rewards = WeightedTerms(rewards, self.config.rewards, self._given)
        self._sum_names = [f"reward/{name}" for name in self._rewards.names]
        self._ends = {
            name: bind(terminations, name, options, self._given)
            for name, options in self.config.terminations.items()
            if options is not None
        }

    def _make_buffers(self) -> None:
        joints, legs = (len(self._default),), (len(self._offsets),)
        numbers: dict[str, tuple[int, ...]] = {
            **{name: joints for name in ("action", "action_1", "action_2", "target", "encoder_bias")},
            **{"air_time": legs, "flight": legs, "foot_pos": (*legs, 3), "foot_vel": (*legs, 3)},
            **self.physics_draws.shapes,
            "clock": (),
            "action_delay": (),  # substeps
            "start": (3,),
            "asked": (2,),  # m, from the start to where the command led
            "reward_sums": (len(self._rewards.names),),
            **self.own_buffers,
        }
        flags = {"contact": legs, "landed": legs, "ended": (), "obs_delay": ()}
        self._numbers = Buffers(numbers, self.num_worlds, self.device)
        self._flags = Buffers(flags, self.num_worlds, self.device, torch.bool)
        self._buffers = {**self._numbers, **self._flags}

    def _make_terms(self) -> None:
        joints, legs = self.robot.spec.joint_names, self.robot.leg_names
        self.groups = ObservationGroups(
            self.config.observations,
            {
                "frequency": self._gait.frequency,
                "offset": self._gait.offsets[legs[0]],
                "dead_band": self.command.config.dead_band,
                "settle_s": self.command.config.settle_s,
                **self._scan.parameters,
            },
            self._read(torch.arange(1, device=self.device)),
            {
                "joint": self.robot.joint_mirror,
                "leg": leg_mirror(legs),
                "scan": self._scan.mirror,
                "gait": self._gait_mirror or Mirror((0, 1), (1.0, 1.0)),
                "motor": leg_mirror(joints),
                "link": leg_mirror(self.physics_draws.link_names),
            },
            {"joint": joints, "motor": joints, "leg": legs, "link": self.physics_draws.link_names},
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
            command=self.command.config.choices,
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
        target = self.joint_targets()
        if self._delay.action_s[1] <= 0:
            self._readings.ctrl.copy_(target)
            self.physics.step(self.substeps)
        else:
            self.advance(self._delayed(b["target"], target))
        b["target"].copy_(target)

    def joint_targets(self) -> Tensor:
        """Where the action at hand sends the joints, (N, J) rad."""
        target = torch.add(self._default, self._buffers["action"], alpha=self.config.action_scale)
        return torch.clamp(target, self._low, self._high)

    def _delayed(self, before: Tensor, target: Tensor) -> Schedule:
        """The old target for the world's first ``action_delay`` substeps, then the new one."""
        delay = self._buffers["action_delay"]
        # the longest that can be drawn; the longest that was drawn would have to be asked of the device
        last = min(round(self._delay.action_s[1] / self.config.physics_dt), self.substeps)
        late = [(torch.where((delay > substep)[:, None], before, target), 1) for substep in range(last)]
        return [*late, (target, self.substeps - last)] if last < self.substeps else late

    def after_physics(self) -> None:
        """Clock, contact timers and foot velocities; then the state of this step."""
        b = self._buffers
        b["clock"].add_(self._gait.frequency * self.dt).frac_()
        touched = b["landed"].copy_(b["contact"])  # a step before
        torch.gt(self._readings.foot_contacts(), 0, out=b["contact"])
        torch.gt(b["contact"], touched, out=b["landed"])  # now, and not then
        torch.add(b["air_time"], self.dt, out=b["flight"])
        b["air_time"].copy_(b["flight"]).masked_fill_(b["contact"], 0.0)
        before = b["foot_vel"].copy_(b["foot_pos"])
        b["foot_pos"].copy_(self._readings.feet())
        torch.sub(b["foot_pos"], before, out=b["foot_vel"]).div_(self.dt)
        if self.ground.curriculum:
            b["asked"] += self.command.displacement(yaw(self._qpos[:, 3:7].float()))
        self._state = self._read()

    def _read(self, worlds: Tensor | None = None) -> LeggedState:
        """The state of all worlds; or of these, which have just been reset: no motor has been driven yet."""
        b, command = self._buffers, self.command
        if worlds is not None:
            b = self._numbers.rows(worlds) | self._flags.rows(worlds)
        motion = self._readings.motion(worlds)
        qpos, qvel = motion["qpos"], motion["qvel"]
        joint_pos = qpos[:, 7:]
        feet, phase = b["foot_pos"], leg_phase(b["clock"], self._offsets)
        sole = feet[..., 2] - self.robot.foot_radius - self.ground.height(feet[..., :2])
        return LeggedState(
            **base_motion(qpos, qvel),
            base_height=qpos[:, 2] - self.ground.height(qpos[:, :2]),
            joint_pos=joint_pos,
            joint_vel=qvel[:, 6:],
            joint_offset=joint_pos - self._default,
            torque=motion["torque"] if worlds is None else torch.zeros_like(joint_pos),
            action=b["action"],
            action_1=b["action_1"],
            action_2=b["action_2"],
            command=command.value if worlds is None else command.value[worlds],
            moving=command.moving if worlds is None else command.moving[worlds],
            phase=phase,
            foot_height=sole,
            foot_vel_w=b["foot_vel"],
            contact=b["contact"],
            air_time=b["flight"],
            landed=b["landed"],
            body_contact=self._readings.body_contacts(worlds),
            encoder_bias=b["encoder_bias"],
            **{name: b[name] for name in self.physics_draws.shapes},
            action_delay=b["action_delay"] * self.config.physics_dt,
            observation_delay=b["obs_delay"] * self.dt,
            height_scan=self._scan(qpos, self.ground.height, self.robot.spec.base_height),
        )

    def reward(self) -> Tensor:
        """The weighted terms, times the control period."""
        total, parts = self._rewards(self._state)
        self._buffers["reward_sums"].add_(parts, alpha=self.dt)
        return total * self.dt

    def end_reward(self, terminated: Tensor) -> Tensor:
        """What the end of an episode costs, (N,)."""
        return terminated * -self.config.termination_penalty

    def terminated(self) -> Tensor:
        """Any termination term."""
        ended = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        for term in self._ends.values():
            ended |= term(self._state)
        self._buffers["ended"].copy_(ended)
        return ended

    def cut_short(self) -> Tensor | None:
        """Worlds at the end of the field."""
        return self.ground.outside(self._state.base_pos_w[:, :2])

    def before_observe(self) -> None:
        """New commands and pushes, which the policy sees or feels from the next observation on."""
        self.command.step(self.generator)
        pushed = self.pushes.step(self._qvel, self.generator)
        if pushed is not None:
            quat, lin_vel_w = self._qpos[pushed, 3:7].float(), self._qvel[pushed, :3].float()
            self._state.lin_vel_b[pushed] = rotate_inverse(quat, lin_vel_w)

    def observe(self, worlds: Tensor | None = None) -> Obs:
        """Groups of all worlds, or of these just after their reset; what sensors say may be a period late."""
        if worlds is not None:
            obs = self.groups(self._read(worlds), self.generator)
            if self._previous_obs is not None:
                self._previous_obs[worlds] = obs["policy"]
            return obs
        obs = self.groups(self._state, self.generator)
        if self._previous_obs is not None:
            now = obs["policy"]
            late = self._buffers["obs_delay"][:, None] & self.groups.sensed
            obs["policy"] = torch.where(late, self._previous_obs, now)
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
        self._update_curriculum(worlds)
        self.physics_draws.draw(worlds, self.generator)
        self.command.reset(worlds, self.generator)
        self.pushes.draw(worlds, self.generator)
        numbers, flags = self._numbers.blank(len(worlds)), self._flags.blank(len(worlds))
        numbers["target"].copy_(self._default)
        self._draw(numbers["clock"], 0.0, 1.0)
        self._draw(numbers["encoder_bias"], -self.config.encoder_bias, self.config.encoder_bias)
        self._draw(numbers["action_delay"], *self._delay.action_s).div_(self.config.physics_dt).round_()
        if self._previous_obs is not None:
            late = self._draw(torch.empty(len(worlds), device=self.device), *self._delay.observation_s)
            flags["obs_delay"].copy_((late / self.dt).round() >= 1)
        self.physics_draws.note(numbers, worlds)
        self._numbers.put(worlds, numbers)
        self._flags.put(worlds, flags)

    def _draw(self, out: Tensor, low: float, high: float) -> Tensor:
        """Fill a tensor from U(low, high)."""
        return out.uniform_(low, high, generator=self.generator) if high > low else out.fill_(low)

    def _update_curriculum(self, worlds: Tensor) -> None:
        if not self.ground.curriculum:
            return
        b = self._buffers
        asked = b["asked"][worlds].norm(dim=-1)
        walked = (self._qpos[worlds, :2].float() - b["start"][worlds, :2]).norm(dim=-1)
        counts = (asked > 0) & ~self.physics.failed()[worlds]  # a broken world is nowhere
        self.ground.update_levels(
            worlds[counts], walked[counts], asked[counts], b["ended"][worlds][counts], self.generator
        )

    def _start(self, worlds: Tensor) -> None:
        super()._start(worlds)
        self._buffers["foot_pos"][worlds] = self._readings.feet()[worlds].float()
        self._buffers["contact"][worlds] = self._readings.foot_contacts()[worlds] > 0

    # Figures and state ---------------------------------------------------------------------------------------

    def episode_metrics(self) -> dict[str, Tensor]:
        """Each reward term's sum over the episode, and the curriculum's figures."""
        sums = dict(zip(self._sum_names, self._buffers["reward_sums"].unbind(-1), strict=True))
        return sums | self.ground.metrics

    def task_state(self) -> dict[str, Any]:
        late = {} if self._previous_obs is None else {"obs": self._previous_obs.clone()}
        return {
            "numbers": self._numbers.matrix.clone(),
            "flags": self._flags.matrix.clone(),
            "samples": {name: value.clone() for name, value in self.physics_draws.randomizer.samples.items()},
            "command": self.command.state_dict(),
            "ground": self.ground.state_dict(),
            "push_time": self.pushes.time_left.clone(),
            "late": late,
        }

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        self._numbers.load(state["numbers"])
        self._flags.load(state["flags"])
        for name, value in self.physics_draws.randomizer.samples.items():
            value.copy_(state["samples"][name])
        self.command.load_state_dict(state["command"])
        self.ground.load_state_dict(state["ground"])
        self.pushes.time_left.copy_(state["push_time"])
        if self._previous_obs is not None:
            self._previous_obs.copy_(state["late"]["obs"])
