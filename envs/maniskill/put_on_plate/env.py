"""``put_on_plate`` in SAPIEN: the same task over another simulator, so that a policy of one can be tried in the other.

The task is :class:`envs.tasks.tabletop.env.TabletopEnv` itself, with :class:`physics.ScenePhysics` as its physics. A
scene is built anew for every episode, because PhysX cannot change shapes: one world an environment, on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import sapien
import torch
from gymnasium import spaces
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils import sapien_utils
from mani_skill.utils.structs.types import SceneConfig, SimConfig
from torch import Tensor

from embodied.configuration import choice, from_mapping
from embodied.text import decode_text
from embodied.types import TaskSpec

from ...registry import load_task_config
from ...robots.panda import PANDA
from ...tasks.tabletop import textures
from ...tasks.tabletop.config import TabletopConfig
from ...tasks.tabletop.env import TabletopEnv
from ...tasks.tabletop.episodes import episode
from ...tasks.tabletop.instructions import LENGTH
from ...tasks.tabletop.numbering import FIRST_DRAWN
from ...tasks.tabletop.rows import ROWS
from ..env import DRAWN
from . import building, looks
from .agent import PandaTwin
from .physics import ScenePhysics


def task_config(row: str = "in_distribution", reward: str = "dense") -> TabletopConfig:
    """That of ``configs/task/put_on_plate.yaml``, without its camera."""
    known = load_task_config("put_on_plate")
    chosen = {key: value for key, value in known.items() if key not in ("chunk", "history")}
    return from_mapping(TabletopConfig, {**chosen, "row": row, "reward": reward, "image_size": 0}, "task")


HORIZON = task_config().horizon


class OneNumber:
    """The number of the one episode, where the tabletop counts its own."""

    number = 0

    def next(self, world: int) -> int:
        """The number."""
        return self.number

    def state_dict(self) -> dict[str, Any]:
        """The number."""
        return {"number": self.number}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse."""
        self.number = int(state["number"])


class PutOnPlateEnv(BaseEnv):
    """One world of a row. The seed of a reset is the episode's number; seeds from 2^30 on stand for training's numbers.

    Actions and the groups ``policy`` and ``critic`` are those of the MuJoCo task (``task_spec``).

    Raises:
        ValueError: an unknown row, more than one world, or ``physx_cuda``.
    """

    SUPPORTED_ROBOTS = (PandaTwin.uid,)
    SUPPORTED_REWARD_MODES = ("dense", "sparse", "none")
    agent: PandaTwin
    instruction_length = LENGTH

    def __init__(self, *args: Any, row: str = "in_distribution", num_envs: int = 1, **options: Any) -> None:
        choice("row", row, ROWS)
        if num_envs != 1 or "cuda" in str(options.get("sim_backend", "")):
            raise ValueError("PutOnPlate builds a scene for every episode: num_envs=1, sim_backend=physx_cpu")
        reward = "sparse" if options.get("reward_mode") == "sparse" else "dense"
        config = task_config(row, reward)
        self.row, self.physics = row, ScenePhysics(self, config.physics_dt)
        self.task = TabletopEnv(config, PANDA, self.physics)
        self.task.autoreset, self._numbers = False, OneNumber()
        self.task.numbering = self._numbers  # type: ignore[assignment]
        self._gained = torch.zeros(1)
        super().__init__(*args, robot_uids=PandaTwin.uid, reconfiguration_freq=1, **options)
        self.single_action_space = self.action_space = spaces.Box(-1.0, 1.0, (self.task_spec.action.size,), np.float32)
        self._orig_single_action_space = self.single_action_space

    @property
    def task_spec(self) -> TaskSpec:
        """What the task is, in the suite's terms."""
        return self.task.spec

    def get_language_instruction(self) -> list[str]:
        """What the robot is told."""
        return decode_text(self._seen["instruction"])

    # Scene ---------------------------------------------------------------------------------------------------

    @property
    def _default_sim_config(self) -> SimConfig:
        c = self.task.config
        # A body that sleeps would report no contacts.
        return SimConfig(
            sim_freq=round(1 / c.physics_dt),
            control_freq=round(1 / c.control_dt),
            scene_config=SceneConfig(sleep_threshold=0.0),
        )

    @property
    def _default_sensor_configs(self) -> list[CameraConfig]:
        pose, fov = looks.eye()
        return [CameraConfig("eye", pose=pose, width=96, height=96, fov=fov, near=0.01, far=10)]

    @property
    def _default_human_render_camera_configs(self) -> CameraConfig:
        pose = sapien_utils.look_at([1.36, -0.84, 0.78], [0.36, 0.02, 0.20])
        return CameraConfig("render_camera", pose=pose, width=640, height=480, fov=np.deg2rad(38), near=0.01, far=10)

    def _load_agent(self, options: dict[str, Any]) -> None:
        super()._load_agent(options, sapien.Pose())

    def _load_scene(self, options: dict[str, Any]) -> None:
        seed = int(self._episode_seed[0])
        self._numbers.number = seed if seed < DRAWN else FIRST_DRAWN + seed
        self._episode = episode(self.row, self._numbers.number)
        self.physics.actors = building.build(self.scene, self._episode)

    def _load_lighting(self, options: dict[str, Any]) -> None:
        looks.light(self.scene)

    def _initialize_episode(self, env_idx: Tensor, options: dict[str, Any]) -> None:
        self._seen = self.task.reset()

    # Step ----------------------------------------------------------------------------------------------------

    def _step_action(self, action: Any) -> Any:
        """The task's own step, which moves the joints' targets and the scene."""
        moved = torch.zeros(self.action_space.shape) if action is None else torch.as_tensor(action)
        result = self.task.step(moved.float().reshape(1, 1, -1))
        self.physics.push()
        self._seen, self._gained = result.final_obs, result.reward
        return action

    def evaluate(self) -> dict[str, Tensor]:
        """Success now, and the task's figures of the episode so far, (1,) each."""
        figures = self.task.episode_metrics()
        return {**figures, "success": figures["success"] > 0}

    def compute_dense_reward(self, obs: Any, action: Any, info: Any) -> Tensor:
        """What the step gained of the task's potential, (1,)."""
        return self._gained

    def compute_sparse_reward(self, obs: Any, action: Any, info: Any) -> Tensor:
        """What it gained of success, (1,)."""
        return self._gained

    # Observations --------------------------------------------------------------------------------------------

    def _get_obs_agent(self) -> dict[str, Tensor]:
        return {}

    def _get_obs_extra(self, info: Any) -> dict[str, Tensor]:
        return {name: self._seen[name] for name in ("policy", "critic")}

    def _get_obs_sensor_data(self, apply_texture_transforms: bool = True) -> dict[str, Any]:
        """With the moving texture of the rows that have one."""
        data, rule = super()._get_obs_sensor_data(apply_texture_transforms), ROWS[self.row]
        if rule.overlay:
            image = data["eye"]["rgb"][0].cpu().numpy()
            assert self._episode.overlay is not None
            step = int(self.task.episode_length[0])
            texture = textures.window(self._episode.overlay, self._episode.key, step, *image.shape[:2])
            mask = self._things() if rule.overlay == "things" else np.ones(image.shape[:2], bool)
            data["eye"]["rgb"] = torch.from_numpy(looks.blended(image, texture, rule.strength, mask))[None]
        return data

    def _things(self) -> np.ndarray:
        """(h, w) bool: pixels of the arm and of objects."""
        bodies = [link._objs[0].entity for link in self.agent.robot.get_links()]
        bodies += [actor._objs[0] for name, actor in self.physics.actors.items() if name.startswith("object")]
        seen = self._sensors["eye"].get_obs(rgb=False, depth=False, position=False, segmentation=True)["segmentation"]
        return np.isin(seen[0, ..., 0].cpu().numpy(), [body.per_scene_id for body in bodies])

    # Continuation --------------------------------------------------------------------------------------------

    def get_state_dict(self) -> dict[str, Any]:
        """The scene's, and what the task remembers of the episode."""
        remembered = {"buffers": self.task.task_state()["buffers"], "steps": self.task.episode_length.clone()}
        return {**super().get_state_dict(), "task": {**self.physics.state_dict(), **remembered}}

    def set_state_dict(self, state: dict[str, Any], env_idx: Any = None) -> None:
        """The inverse, after a reset to the same episode."""
        state, task = {k: v for k, v in state.items() if k != "task"}, dict(state["task"])
        super().set_state_dict(state, env_idx)
        buffers, steps = task.pop("buffers"), task.pop("steps")
        self.physics.load_state_dict(task)
        self.task.episode_length.copy_(steps)
        self.task.load_task_state({**self.task.task_state(), "buffers": buffers})
