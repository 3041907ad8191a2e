"""What the physics says of a legged robot: fields of its model, found by name once.

Legend: N worlds; n of them; J joints; L legs. Fields of the physics are live, in its own type and order; what terms
compute with is float32 and worlds last, see :mod:`envs.mdp.buffers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...mdp.buffers import Buffers, worlds_last
from ...mujoco.indices import span
from ...mujoco.physics import Physics


class Readings:
    """Fields of N robots: qpos (N, 7 + J), qvel (N, 6 + J), ctrl (N, J).

    legs: names; ``<leg>_foot`` is a site, ``<leg>_foot_contact`` a sensor that counts contacts.
    """

    def __init__(self, physics: Physics, legs: Sequence[str]) -> None:
        self._model, self._device = physics.model, physics.device
        self.qpos, self.qvel, self.ctrl = (physics.field(name) for name in ("qpos", "qvel", "ctrl"))
        self._sites, self._sensors = physics.field("site_xpos"), physics.field("sensordata")
        self._motion = {"qpos": self.qpos, "qvel": self.qvel, "torque": physics.field("actuator_force")}
        shapes = {name: tuple(field.shape[1:]) for name, field in self._motion.items()}
        self._latest = Buffers(shapes, physics.num_worlds, self._device)
        self._foot_sites = span([self._model.site(f"{leg}_foot").id for leg in legs], self._device)
        self._foot_sensors = self._columns([f"{leg}_foot_contact" for leg in legs])
        names = [self._model.sensor(i).name for i in range(self._model.nsensor)]
        body = [name for name in names if name.endswith("_contact") and not name.endswith("foot_contact")]
        self._body_sensors = self._columns(body) if body else None

    def _columns(self, sensors: list[str]) -> slice | Tensor:
        return span([int(self._model.sensor(name).adr[0]) for name in sensors], self._device)

    def motion(self, worlds: Tensor | None = None) -> Mapping[str, Tensor]:
        """``qpos``, ``qvel`` and ``torque`` of these worlds, their own; or of all, as of the latest call."""
        if worlds is not None:
            return {name: worlds_last(field[worlds]) for name, field in self._motion.items()}
        for name, field in self._motion.items():
            self._latest[name].copy_(field)
        return self._latest

    def feet(self) -> Tensor:
        """Positions of the feet in the world frame, (N, L, 3) m."""
        return self._sites[:, self._foot_sites]

    def foot_contacts(self) -> Tensor:
        """How many contacts each foot has, (N, L)."""
        return self._sensors[:, self._foot_sensors]

    def body_contacts(self, worlds: Tensor | None = None) -> Tensor:
        """How many contacts anything but the feet has, (n,); zeros where nothing else collides."""
        sensors = self._sensors if worlds is None else self._sensors[worlds]
        if self._body_sensors is None:
            return torch.zeros(len(sensors), device=self._device)
        return sensors[:, self._body_sensors].sum(-1, dtype=torch.float32)
