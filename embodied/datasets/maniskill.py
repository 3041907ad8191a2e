"""ManiSkill's demonstrations: ``trajectory*.h5`` and a ``.json`` of the same name (documentation, "Demonstrations").

The JSON's ``episodes`` say which groups ``traj_<episode_id>`` there are. A group holds ``actions`` (T, A), ``obs``
(T + 1, ...) as an array or a tree, ``terminated``, ``truncated``, ``success`` and ``rewards`` (T,). Its ``env_states``
are not read; what is written has none, for only ManiSkill's own simulation has such states.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .episodes import DatasetError, DatasetInfo, Episode
from .files import read_json, write_json
from .hdf5 import Hdf5Reader, Hdf5Writer, get_flags, get_obs, put_flags, put_obs, vector, with_final, without_final

CONTROL_HZ = 20
"""ManiSkill's default control frequency (``SimConfig.control_freq``), where ``env_kwargs`` state no other."""


class ManiSkillReader(Hdf5Reader):
    """The episodes of a ManiSkill trajectory file."""

    def __init__(self, path: str | Path, control_dt: float | None = None) -> None:
        self._json_path = Path(path).with_suffix(".json")
        self._json = read_json(self._json_path)
        super().__init__(path, control_dt)

    def episode_names(self, file: Any) -> list[str]:
        """See :class:`Hdf5Reader`."""
        try:
            names = [f"traj_{row['episode_id']}" for row in self._json["episodes"]]
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{self._json_path} is damaged: {error!r}") from error
        missing = [name for name in names if name not in file]
        if missing:
            raise DatasetError(f"{self.file}: {missing[0]} is missing, which {self._json_path.name} lists")
        return names

    def task(self, file: Any) -> str:
        """See :class:`Hdf5Reader`."""
        return str(self._json.get("env_info", {}).get("env_id", self.path.stem))

    def period(self, file: Any) -> float | None:
        """See :class:`Hdf5Reader`."""
        settings = self._json.get("env_info", {}).get("env_kwargs", {}).get("sim_config") or {}
        return 1.0 / float(settings.get("control_freq", CONTROL_HZ))

    def episode(self, group: Any, number: int) -> Episode:
        """See :class:`Hdf5Reader`."""
        row, where = self._json["episodes"][number], self.where(number)
        action = np.asarray(group["actions"][()], dtype=np.float32)
        if row.get("elapsed_steps", len(action)) != len(action):
            raise DatasetError(f"{where}: {len(action)} actions, {self._json_path.name} says {row['elapsed_steps']}")
        if "obs" not in group:
            raise DatasetError(f"{where}: has no observations; replay it with an observation mode first")
        obs, final = without_final(get_obs(group["obs"]), len(action), where)
        reward = vector(group["rewards"]) if "rewards" in group else np.zeros(len(action), np.float32)
        success = bool(group["success"][-1]) if "success" in group else row.get("success")
        terminated = bool(np.any(group["terminated"][()]))
        flags = get_flags(group) | {"success": success}
        return Episode(obs, action, reward, terminated, final_obs=final, **flags)


class ManiSkillWriter(Hdf5Writer):
    """Writes a ManiSkill trajectory file and its JSON."""

    SUFFIXES = (".h5",)

    def __init__(self, path: str | Path, info: DatasetInfo) -> None:
        if Path(path).with_suffix(".json").exists():
            raise DatasetError(f"{Path(path).with_suffix('.json')} is there already; choose another name")
        super().__init__(path, info)
        self._rows: list[dict[str, Any]] = []

    def _write(self, number: int, episode: Episode) -> None:
        steps = len(episode)
        last = np.arange(steps) == steps - 1
        group = self._file.create_group(f"traj_{number}")
        put_obs(group, "obs", with_final(episode))
        group.create_dataset("actions", data=episode.action.astype(np.float32))
        group.create_dataset("rewards", data=episode.reward.astype(np.float32))
        group.create_dataset("terminated", data=last & episode.terminated)
        group.create_dataset("truncated", data=last & (not episode.terminated))
        row: dict[str, Any] = {"episode_id": number, "reset_kwargs": {}, "control_mode": None, "elapsed_steps": steps}
        if episode.success is not None:
            group.create_dataset("success", data=last & episode.success)
            row["success"] = episode.success
        put_flags(group, episode)
        self._rows.append(row | {"info": {}})

    def _finish(self) -> None:
        super()._finish()
        settings = {"sim_config": {"control_freq": 1.0 / self.info.control_dt}}
        about = {"env_id": self.info.task, "env_kwargs": settings, "max_episode_steps": None}
        write_json(self._work / "data.json", {"env_info": about, "episodes": self._rows, "source_type": "embodied"})
