"""One ManiSkill environment of n worlds, as fields: name -> tensor (n, ...).

Fields: ``obs/<group>``; ``reward`` (n,); ``success`` and ``failed`` (n,) bool; ``figure/<name>`` (n,), every number of
ManiSkill's ``info``. n is 1 on the CPU; on CUDA all worlds are one environment, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodied.configuration import nearest
from embodied.types import ActionSpec, Obs, ObsGroup, TaskSpec

from . import vulkan
from .actions import action_spec, sent
from .config import ManiSkillConfig
from .finding import find, unasked
from .observations import instructions, obs_groups, observe

Fields = dict[str, Tensor]
_NOT_FIGURES = ("success", "success_once", "success_at_end", "fail", "elapsed_steps", "reconfigure")


class Simulation:
    """The environment of a configuration.

    action: what its robot takes.  groups: of its observations.  horizon: control steps of an episode, 0 without end.
    judged: it tells success.  control_dt, physics_dt: s.

    Raises:
        ValueError: something is missing, or the environment does not know an option; the message says what to do.
    """

    def __init__(self, config: ManiSkillConfig, worlds: int = 1, backend: str = "physx_cpu") -> None:
        self._config, self.worlds = config, worlds
        registration = find(config.id)
        self.env = env = _construct(registration, config, worlds, backend)
        self.horizon = config.max_episode_steps or registration.max_episode_steps or 0
        self.control_dt, self.physics_dt = float(env.control_timestep), float(env.sim_timestep)
        own: TaskSpec | None = getattr(env, "task_spec", None)  # a task of this suite says itself what it is
        self.action: ActionSpec = own.action if own else action_spec(env)
        offset, scale = (0.0, 1.0) if own else sent(env, self.action)
        self._offset, self._scale = (
            torch.as_tensor(part, dtype=torch.float32, device=env.device) for part in (offset, scale)
        )
        info = env.get_info()
        self.judged = "success" in info
        self._camera = config.camera
        check_camera(config, env)
        raw = env.get_obs(info, unflattened=True)
        self.groups: dict[str, ObsGroup] = obs_groups(raw, self._obs(raw), _joints(env)) | (own.obs if own else {})

    def reset(self, seed: int, worlds: Tensor | None = None) -> Fields:
        """Start these worlds (k,), or all of them; what follows is a function of the seed until the next reset."""
        options = {} if worlds is None else {"env_idx": worlds.to(self.env.device)}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            raw, info = self.env.reset(seed=seed if worlds is None else None, options=options)
        return self._fields(raw, info)

    def step(self, action: Tensor, look: bool = True) -> Fields:
        """Advance all worlds by a control step; action (n, A) in [-1, 1]. Without ``look`` no image is drawn."""
        with self._looking(look):
            raw, reward, _, _, info = self.env.step(self._command(action))
        return {**self._fields(raw, info), "reward": torch.as_tensor(reward).float().reshape(self.worlds)}

    def look(self) -> Fields:
        """What is to be seen now."""
        return {"obs/image": observe(self.env.get_obs(), self._camera)["image"]}

    def example(self) -> Fields:
        """All fields after a reset with seed 0."""
        return {**self.reset(0), "reward": torch.zeros(self.worlds)}

    def render(self, world: int) -> np.ndarray:
        """RGB frame (height, width, 3) uint8 of the camera that is there for people."""
        if not self.env.scene.can_render():
            raise RuntimeError(f"{self._config.id} cannot be drawn: {vulkan.HELP}")
        return self.env.render_rgb_array()[world].cpu().numpy()

    def state(self) -> dict[str, Any]:
        """Poses and velocities of all bodies, targets of the controller: nested, (n, ...)."""
        return _map(lambda x: torch.as_tensor(x).clone(), self.env.get_state_dict())

    def restore(self, state: Mapping[str, Any], steps: Tensor) -> None:
        """Continue from :meth:`state` after a reset; steps (n,) since the episodes' starts."""
        state = _map(lambda x: x.to(self.env.device), state)
        self.env.set_state_dict(state)
        if "controller" in state:
            self.env.agent.set_controller_state(state["controller"])
        self.env.elapsed_steps.copy_(steps)

    def close(self) -> None:
        """Free the scene."""
        self.env.close()

    # Pieces --------------------------------------------------------------------------------------------------

    def _command(self, action: Tensor) -> Any:
        """As the environment takes it: a vector, or one for each robot."""
        command = self._offset + self._scale * action.to(self.env.device)
        spaces = getattr(self.env.single_action_space, "spaces", None)
        if spaces is None:
            return command
        sizes = [space.shape[0] for space in spaces.values()]
        return dict(zip(spaces, command.split(sizes, dim=-1), strict=True))

    @contextmanager
    def _looking(self, look: bool) -> Any:
        """Within it cameras are looked through, or not; what else is observed stays the same."""
        blind = not look and "image" in self.groups
        if blind:
            self.env._get_obs_sensor_data = lambda *_: {}
        try:
            yield
        finally:
            if blind:
                del self.env._get_obs_sensor_data

    def _obs(self, raw: Any) -> Obs:
        obs, said = observe(raw, self._camera), instructions(self.env, self.worlds)
        return obs if said is None else {**obs, "instruction": said.to(self.env.device)}

    def _fields(self, raw: Any, info: Mapping[str, Any]) -> Fields:
        never = torch.zeros(self.worlds, dtype=torch.bool, device=self.env.device)
        found = {f"obs/{name}": value for name, value in self._obs(raw).items()}
        found["success"], found["failed"] = (info.get(name, never).bool() for name in ("success", "fail"))
        for name, value in info.items():
            if name not in _NOT_FIGURES and isinstance(value, Tensor) and value.shape == (self.worlds,):
                found[f"figure/{name}"] = value.float()
        return found


def _construct(registration: Any, config: ManiSkillConfig, worlds: int, backend: str) -> Any:
    """The environment itself, without wrappers: time limits and resets are ours."""
    options = {
        "num_envs": worlds,
        "obs_mode": _obs_mode(registration.cls, config.obs),
        "reward_mode": config.reward,
        "control_mode": config.control_mode,
        "sim_backend": backend,
        "render_backend": "gpu" if backend == "physx_cuda" else "cpu",
        **dict(config.kwargs),
    }
    if config.image_size:
        options["sensor_configs"] = {"width": config.image_size, "height": config.image_size}
    try:
        with unasked():
            return registration.make(**options)
    except (KeyError, TypeError, NotImplementedError, AssertionError) as error:
        raise ValueError(f"{config.id}: {error}; {_choices(registration.cls)}") from error
    except RuntimeError as error:
        if "rendering device" in str(error) or "vk" in str(error):
            raise ValueError(f"{error}. {vulkan.HELP}") from error
        raise


def check_camera(config: ManiSkillConfig, env: Any) -> None:
    """ValueError for an unknown camera, and where there is none; before anything is drawn."""
    sensors = env.scene.sensors
    if config.obs == "rgb" and not sensors:
        raise ValueError(f"task.obs=rgb: {config.id} has no camera; choose task.obs=state")
    if config.camera is not None and config.camera not in sensors:
        raise ValueError(f"task.camera={config.camera!r}: {nearest(config.camera, sensors)}")


def _obs_mode(cls: Any, obs: str) -> str:
    """ManiSkill's name for it. Of its real-to-sim tasks images come with a segmentation only."""
    if obs == "state":
        return "state_dict"
    modes = list(cls.SUPPORTED_OBS_MODES)
    return "rgb" if "any_textures" in modes else next((mode for mode in modes if "rgb" in mode), "rgb")


def _choices(cls: Any) -> str:
    return (
        f"its rewards: {', '.join(cls.SUPPORTED_REWARD_MODES)}; its observations: {', '.join(cls.SUPPORTED_OBS_MODES)}"
    )


def _joints(env: Any) -> tuple[str, ...]:
    robot = getattr(env.agent, "robot", None)
    return tuple(joint.name for joint in robot.get_active_joints()) if robot is not None else ()


def _map(function: Any, tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _map(function, value) for key, value in tree.items()}
    return function(tree)
