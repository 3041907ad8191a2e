"""robomimic's datasets: one HDF5 file (documentation, "Datasets / Overview: Dataset Structure").

``data/demo_<i>`` holds ``actions`` (T, A), ``rewards``, ``dones`` (T,), ``states``, ``obs/<key>`` and
``next_obs/<key>`` (T, ...), with ``num_samples`` as an attribute; ``data`` has the attributes ``total`` and
``env_args``. robomimic expects actions within [-1, 1]; they are written as they are. The groups of ``mask`` (filter
keys) are not read.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .episodes import DatasetError, Episode
from .hdf5 import Hdf5Reader, Hdf5Writer, by_number, get_flags, get_obs, put_flags, vector

GYM_TYPE = 2
"""robomimic's number for a Gym environment (``EnvType.GYM_TYPE``)."""


class RobomimicReader(Hdf5Reader):
    """The demonstrations of a robomimic file."""

    def episode_names(self, file: Any) -> list[str]:
        """See :class:`Hdf5Reader`."""
        if "data" not in file:
            raise DatasetError(f"{self.file}: group 'data' is missing; there: {', '.join(file) or 'nothing'}")
        return [f"data/{name}" for name in by_number(list(file["data"]), "demo_")]

    def task(self, file: Any) -> str:
        """See :class:`Hdf5Reader`."""
        return str(_env_args(file).get("env_name", self.path.stem))

    def period(self, file: Any) -> float | None:
        """See :class:`Hdf5Reader`."""
        rate = _env_args(file).get("env_kwargs", {}).get("control_freq")
        return None if rate is None else 1.0 / float(rate)

    def episode(self, group: Any, number: int) -> Episode:
        """See :class:`Hdf5Reader`."""
        action = np.asarray(group["actions"][()], dtype=np.float32)
        told = int(group.attrs.get("num_samples", len(action)))
        if told != len(action):
            raise DatasetError(f"{self.where(number)}: {len(action)} actions, num_samples says {told}")
        obs = get_obs(group["obs"])
        final = get_obs(group["next_obs"]) if "next_obs" in group else None
        last = None if final is None else {name: final[name][-1] for name in obs}
        reward = vector(group["rewards"]) if "rewards" in group else np.zeros(len(action), np.float32)
        terminated = bool(vector(group["dones"])[-1]) if "dones" in group else False
        return Episode(obs, action, reward, terminated, final_obs=last, **get_flags(group))


class RobomimicWriter(Hdf5Writer):
    """Writes a robomimic file."""

    def _write(self, number: int, episode: Episode) -> None:
        group = self._file.create_group(f"data/demo_{number}")
        group.attrs["num_samples"] = len(episode)
        done = np.zeros(len(episode), dtype=np.int64)
        done[-1] = episode.terminated
        group.create_dataset("actions", data=episode.action.astype(np.float32))
        group.create_dataset("rewards", data=episode.reward.astype(np.float32))
        group.create_dataset("dones", data=done)
        group.create_dataset("states", data=np.zeros((len(episode), 0), np.float32))
        for name, x in episode.obs.items():
            options = {"compression": "gzip"} if x.dtype == np.uint8 else {}
            group.create_dataset(f"obs/{name}", data=x, **options)
            if episode.final_obs is not None:
                after = np.concatenate([x[1:], episode.final_obs[name][None]])
                group.create_dataset(f"next_obs/{name}", data=after, **options)
        put_flags(group, episode)
        self._file["data"].attrs["total"] = int(self._file["data"].attrs.get("total", 0)) + len(episode)

    def _finish(self) -> None:
        kwargs = {"control_freq": 1.0 / self.info.control_dt}
        about = {"env_name": self.info.task, "env_type": GYM_TYPE, "env_kwargs": kwargs}
        self._file["data"].attrs["env_args"] = json.dumps(about)
        super()._finish()


def _env_args(file: Any) -> dict[str, Any]:
    try:
        return dict(json.loads(file["data"].attrs.get("env_args", "{}")))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{file.filename}: attribute env_args is damaged: {error}") from error
