"""``put_on_plate``: an arm is told in words which object to put on which receptacle, and sees it through a camera.

After RL4VLA (Liu et al. 2025, "What Can RL Bring to VLA Generalization?"). Every episode is a function of its row and
number (:mod:`episodes`); nothing else is random. An episode lasts its full length: what counts is success at its end.
Legend: N worlds; n of them; 2 objects and 2 receptacles, those of the instruction first. World frame, m, rad.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
import torch
from torch import Tensor

from embodied.text import encode_text
from embodied.types import Obs, ObsGroup, ObsTerm, TaskSpec

from ...mdp import rotations
from ...mujoco.physics import Physics
from ...robots.panda import Arm
from ..manipulation.env import DOWN, ManipulationEnv, Term
from ..manipulation.state import TableState
from . import scoring
from .catalogue import OBJECTS, RECEPTACLES
from .config import TabletopConfig
from .dressing import Dressing, VisualWardrobe, Wardrobe, dress
from .episodes import REPOSITION_STEP, Episode, episode, height
from .instructions import LENGTH, WORDS
from .numbering import Numbering
from .scene import PADS, SLOTS, furnish, sensor, slot
from .state import FIELDS, PlateState


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The tabletop's settings are keys of the task itself."""


class TabletopEnv(ManipulationEnv):
    """N worlds of ``put_on_plate``.

    observe_later: leave the group ``image`` out of what ``step`` observes, for :meth:`look` to draw it; a wrapper that
        executes chunks sets it, because images between decisions would be seen by nobody.
    """

    objects = tuple(slot("object", i) for i in range(SLOTS))
    options_type = NoOptions
    config: TabletopConfig
    remembers: ClassVar[Mapping[str, tuple[int, ...]]] = {
        "base_pos": (SLOTS, 3),  # receptacles
        "base_half": (SLOTS,),
        "rest": (),  # height of the object's centre on its target
        "half": (),  # half height of the object
        "grasp": (),  # m above its centre
        "symmetry": (),  # rad, of the object; 0: round
        "present": (2 * SLOTS,),  # 1 where a slot is in use
        "moved_to": (2,),
        "holding": (SLOTS,),
        "ever_held": (SLOTS,),
        "held_steps": (),
        "firmly": (),
        "first_held": (SLOTS,),  # 1 at the object that was held first
        "let_go": (),
        "placed": (),
        "ever_placed": (),
        "misplaced": (),
        "since_placed": (),  # control steps since the first success
    }

    def __init__(self, config: TabletopConfig, arm: Arm, physics: Physics, seed: int = 0) -> None:
        model, self.observe_later = physics.model, False
        self.numbering = Numbering(physics.num_worlds, config.episodes, config.group, seed)
        self.episodes: list[Episode] = [episode(config.row, 0)] * physics.num_worlds
        self._wardrobe = Wardrobe(model)
        self._touches = {
            (a, b): int(model.sensor(sensor(a, b)).adr[0])
            for a in self.objects
            for b in (*PADS, *(slot("receptacle", i) for i in range(SLOTS)))
        }
        self._sensors = physics.field("sensordata")
        self._words = torch.zeros(physics.num_worlds, LENGTH, dtype=torch.uint8, device=physics.device)
        self._starting: list[Dressing] = []
        self._images: Any = None
        super().__init__(config, arm, physics, seed)

    def _make_spec(self) -> TaskSpec:
        spec, c = super()._make_spec(), self.config
        told = ObsTerm("instruction", LENGTH, unit="UTF-8 byte", parameters={"words": list(WORDS)})
        obs = {**spec.obs, "instruction": ObsGroup((told,), shape=(LENGTH,), dtype="uint8", normalize=False)}
        if c.image_size:
            obs["image"] = ObsGroup(shape=(c.image_size, c.image_size, 3), dtype="uint8", normalize=False)
        return dataclasses.replace(spec, obs=obs)

    @classmethod
    def build(cls, spec: mujoco.MjSpec, options: NoOptions) -> None:
        """The slots for objects and receptacles."""
        furnish(spec)

    # A step --------------------------------------------------------------------------------------------------

    def _move(self, command: Tensor) -> None:
        """The target stays upright, also where the hand starts tilted: no action could straighten it."""
        super()._move(command)
        target = self._buffers["target_rot"]
        target.copy_(rotations.about_z(rotations.yaw_of(target)) @ torch.diag(target.new_tensor(DOWN)))

    def after_physics(self) -> None:
        """What happened in this step."""
        self._state = s = self.read()
        b = self._buffers
        before, held = b["holding"].clone(), self._held().float()
        placed = scoring.on_target(
            s.object_pos[:, 0], b["base_pos"][:, 0], b["base_half"][:, 0], b["rest"], self._touch(0, 0)
        ).float()
        nobody = (b["ever_held"].sum(-1, keepdim=True) == 0).float()
        b["first_held"].copy_(torch.maximum(b["first_held"], nobody * held))
        b["ever_held"].copy_(torch.maximum(b["ever_held"], held))
        b["held_steps"].copy_((b["held_steps"] + 1) * held[:, 0])
        b["firmly"].copy_(torch.maximum(b["firmly"], (b["held_steps"] >= scoring.LONG).float()))
        lost = (before[:, 0] > 0) & (held[:, 0] == 0)
        opened = (b["fingers"] > s.finger_pos.mean(-1)).float()
        b["let_go"].copy_(torch.where(lost, opened, b["let_go"]))
        b["holding"].copy_(held)
        b["misplaced"].copy_(self._touch(0, 1).float())
        placed = placed * b["ever_held"][:, 0]
        b["placed"].copy_(placed)
        b["since_placed"].copy_(b["since_placed"] + b["ever_placed"])
        b["ever_placed"].copy_(torch.maximum(b["ever_placed"], placed))
        b["solved"].copy_(placed)

    def read(self, worlds: Tensor | None = None) -> PlateState:
        """The state of these worlds, or of all."""
        b = self._buffers if worlds is None else self._buffers.rows(worlds)
        return PlateState(**vars(super().read(worlds)), **{name: b[name] for name in FIELDS})

    def _touch(self, thing: int, base: int) -> Tensor:
        """(N,) bool: an object touches a receptacle."""
        return self._sensors[:, self._touches[slot("object", thing), slot("receptacle", base)]] > 0

    def _held(self) -> Tensor:
        """(N, 2) bool: both fingers touch the object."""
        columns = [[self._touches[thing, pad] for pad in PADS] for thing in self.objects]
        return (self._sensors[:, columns] > 0).all(-1)

    def progress(self, s: TableState) -> Tensor:
        """The potential; with the sparse reward it is success alone."""
        assert isinstance(s, PlateState)
        if self.config.reward == "sparse":
            return s.placed.clone()
        return scoring.potential(s.ever_held[:, 0], s.firmly, s.placed)

    def success(self, s: TableState) -> Tensor:
        """Now; a later step may undo it."""
        return self._buffers["placed"] > 0

    def reward(self) -> Tensor:
        """What the step gained of the potential."""
        before = self._buffers["progress"].clone()
        self._buffers["progress"].copy_(self.progress(self._state))
        return self._buffers["progress"] - before

    def terminated(self) -> Tensor:
        """At the deadline alone: what is achieved may be undone until then."""
        return self.late()

    def cut_short(self) -> Tensor | None:
        """After some time, or some time after success, if the configuration says so."""
        cuts = [
            clock >= limit
            for clock, limit in (
                (self._buffers["since_placed"], self.config.cut_after_success),
                (self.episode_length, self.config.cut_after),
            )
            if limit
        ]
        return torch.stack(cuts).any(0) if cuts else None

    def before_observe(self) -> None:
        """Move the object, in the row that does."""
        jumps = [
            world
            for world in (self.episode_length == REPOSITION_STEP).nonzero().squeeze(-1).tolist()
            if self.episodes[world].moved_to is not None
        ]
        if jumps:
            self._jump(torch.tensor(jumps, device=self.device))

    def _jump(self, worlds: Tensor) -> None:
        first, speed = len(self._home) + 2, len(self._home) + 2
        self._qpos[worlds, first : first + 2] = self._buffers["moved_to"][worlds].to(self._qpos.dtype)
        self._qpos[worlds, first + 2] = self._buffers["half"][worlds].to(self._qpos.dtype)
        self._qvel[worlds, speed : speed + 6] = 0.0
        self._state = self.read()

    # Observations --------------------------------------------------------------------------------------------

    def task_terms(self, s: TableState) -> dict[str, Term]:
        """Nothing but the arm: objects are seen."""
        return {}

    def _terms(self, s: TableState, length: Tensor) -> dict[str, dict[str, Term]]:
        """The critic also knows where everything is, and what has been achieved."""
        assert isinstance(s, PlateState)
        groups, shown = super()._terms(s, length), s.present
        groups["critic"] |= {
            "hand_to_object": ((s.object_pos - s.hand_pos[:, None]) * shown[:, :SLOTS, None], "m", "world"),
            "object_rot": (rotations.six(s.object_rot[:, 0]), "1", "world"),
            "hand_to_base": ((s.base_pos - s.hand_pos[:, None]) * shown[:, SLOTS:, None], "m", "world"),
            "object_to_base": (s.base_pos[:, 0] - s.object_pos[:, 0], "m", "world"),
            "present": (shown, "1", "-"),
            "holding": (s.holding, "1", "-"),
            "achieved": (torch.stack([s.ever_held[:, 0], s.firmly, s.placed], -1), "1", "-"),
        }
        return {
            name: {key: (value.flatten(1), unit, frame) for key, (value, unit, frame) in terms.items()}
            for name, terms in groups.items()
        }

    def observe(self, worlds: Tensor | None = None) -> Obs:
        """Groups of all worlds, or of these just after their reset."""
        rows = torch.arange(self.num_worlds, device=self.device) if worlds is None else worlds
        obs = super().observe(worlds)
        obs["instruction"] = self._words[rows]
        if self.config.image_size and not (worlds is None and self.observe_later):
            self._draw(rows)
            obs["image"] = torch.from_numpy(self._images.frames[rows.cpu().numpy()]).to(self.device)
        return obs

    def look(self, rows: Tensor) -> Obs:
        """The group ``image`` of all worlds, drawn anew in the rows of a (N,) bool mask; see ``observe_later``."""
        if not self.config.image_size:
            return {}
        self._draw(rows.nonzero().squeeze(-1))
        return {"image": torch.from_numpy(self._images.frames.copy()).to(self.device)}

    def _draw(self, worlds: Tensor) -> None:
        from .rendering import Renderer

        c, model = self.config, self.physics.model
        if self._images is None:
            self._images = Renderer(
                c.row,
                c.image_size,
                c.physics_dt,
                worlds=self.num_worlds,
                nq=model.nq,
                workers=c.num_render_workers,
            )
        images, rows = self._images, worlds.cpu().numpy()
        images.qpos[rows] = torch.nan_to_num(self._qpos[worlds]).cpu().numpy()
        images.number[rows] = [self.episodes[row].number for row in rows.tolist()]
        images.step[rows] = self.episode_length[worlds].cpu().numpy()
        images.draw(rows)

    def episode_metrics(self) -> dict[str, Tensor]:
        """Success at the end and at any time, whether the words were followed, and what went wrong."""
        b = self._buffers
        taken = b["first_held"].sum(-1) > 0
        story = scoring.Story(
            placed=b["placed"] > 0,
            held=b["holding"] > 0,
            ever_held=b["ever_held"] > 0,
            misplaced=b["misplaced"] > 0,
            let_go=b["let_go"] > 0,
        )
        return {
            "success": b["placed"],
            "success_at_end": b["placed"],
            "success_once": b["ever_placed"],
            "grasped": b["ever_held"][:, 0],
            "followed": torch.where(taken, b["first_held"][:, 0], torch.nan),
            **scoring.failure(story),
        }

    # Reset ---------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> Obs:
        """Start every world afresh; see :class:`embodied.types.VecEnv`."""
        if seed is not None:
            self.numbering.restart(seed)
        return super().reset(seed)

    def initial_state(self, worlds: Tensor) -> tuple[Tensor, Tensor]:
        """What the episodes' numbers say."""
        rows = worlds.tolist()
        for row in rows:
            self.episodes[row] = episode(self.config.row, self.numbering.next(row))
        episodes = [self.episodes[row] for row in rows]
        self._starting = [dress(ep) for ep in episodes]
        self._dress(worlds, self._starting)
        self._words[worlds] = encode_text([ep.text for ep in episodes], LENGTH).to(self.device)
        qpos, qvel = super().initial_state(worlds)
        self._remember(worlds, episodes)
        qpos[:, : len(self._home)] = self._joints(episodes)
        return qpos, qvel

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Where the objects of the episodes that begin stand; the goal is the middle of the receptacle."""
        poses = np.array([np.hstack([d.body_pos, d.body_quat])[:SLOTS] for d in self._starting])
        goal = np.array([d.body_pos[SLOTS] for d in self._starting])
        return self._home.new_tensor(poses), self._home.new_tensor(goal)

    def _joints(self, episodes: list[Episode]) -> Tensor:
        """(n, J) of the arm, within its limits."""
        low, high = (self._home.new_tensor(limit) for limit in (self.arm.spec.joint_low, self.arm.spec.joint_high))
        return (self._home + self._home.new_tensor([ep.joints for ep in episodes])).clamp(low, high)

    def _dress(self, worlds: Tensor, dressings: list[Dressing]) -> None:
        """Write the episodes into the per-world fields of the model."""

        def stacked(name: str) -> Tensor:
            return torch.tensor(np.array([getattr(d, name) for d in dressings]), device=self.device)

        rows, field = worlds[:, None], self.physics.model_field
        geoms, bodies = (torch.tensor(ids, device=self.device) for ids in (self._wardrobe.geoms, self._wardrobe.bodies))
        for name in ("size", "pos", "rbound", "contype", "conaffinity"):
            target = field(f"geom_{name}")
            target[rows, geoms] = stacked(name).to(target.dtype)
        pos, quat, compensation = field("body_pos"), field("body_quat"), field("body_gravcomp")
        pos[rows, bodies[SLOTS:]] = stacked("body_pos")[:, SLOTS:].to(pos.dtype)
        quat[rows, bodies[SLOTS:]] = stacked("body_quat")[:, SLOTS:].to(quat.dtype)
        compensation[rows, bodies[:SLOTS]] = stacked("floating")[:, :SLOTS].to(compensation.dtype)

    def _remember(self, worlds: Tensor, episodes: list[Episode]) -> None:
        """What scoring and experts need of the episodes."""
        b, joints = self._buffers.rows(worlds), self._joints(episodes)
        b["joint_target"].copy_(joints)
        b["target_pos"].copy_(self.chain(joints)[0])
        for i, ep in enumerate(episodes):
            for k, base in enumerate(ep.receptacles):
                thing = RECEPTACLES[base.pair[1]]
                b["base_pos"][i, k] = b["base_pos"].new_tensor([*base.at, thing.top])
                b["base_half"][i, k] = thing.half
            named = OBJECTS[ep.objects[0].pair[1]]
            b["half"][i] = height(ep.objects[0])
            b["rest"][i] = b["base_pos"][i, 0, 2] + b["half"][i]
            b["symmetry"][i], b["grasp"][i] = named.symmetry, named.grasp * ep.objects[0].scale
            used = [k < len(things) for things in (ep.objects, ep.receptacles) for k in range(SLOTS)]
            b["present"][i] = b["present"].new_tensor(used)
            if ep.moved_to is not None:
                b["moved_to"][i] = b["moved_to"].new_tensor(ep.moved_to)
        for name, value in b.items():
            self._buffers[name][worlds] = value

    # Looks and continuation ----------------------------------------------------------------------------------

    def get_model_data(self, row: int = 0) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world to look at, as its episode looks."""
        model, data = super().get_model_data(row)
        if self.visual_model is not None:
            VisualWardrobe(model).wear(dress(self.episodes[row]))
            mujoco.mj_forward(model, data)
        return model, data

    def task_state(self) -> dict[str, Any]:
        """Episodes, targets and what has happened."""
        numbers = [ep.number for ep in self.episodes]
        return {**super().task_state(), "numbering": self.numbering.state_dict(), "numbers": numbers}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`task_state`."""
        self.numbering.load_state_dict(state["numbering"])
        self.episodes = [episode(self.config.row, number) for number in state["numbers"]]
        self._words.copy_(encode_text([ep.text for ep in self.episodes], LENGTH).to(self.device))
        super().load_task_state(state)

    def close(self) -> None:
        """Stop the workers, too."""
        if self._images is not None:
            self._images.close()
            self._images = None
        super().close()
