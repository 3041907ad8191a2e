"""Contact forces as ``mj_step`` followed by ``mj_rnePostConstraint`` would leave them, on a whole batch.

``mj_step`` ends with derived fields of its last evaluation of the dynamics: for the Euler integrators the state before
the substep, for RK4 the fourth stage (Hairer et al., "Solving ODEs I", section II.1). Gymnasium then calls
``mj_rnePostConstraint`` for ``cfrc_ext``; a batch has no such call, and a force sensor, which makes a forward pass
compute the same, is skipped in RK4's later stages. So that state is recovered from the derived fields, which determine
it exactly, and one forward pass is made there: about 1/20 of the physics of five RK4 substeps. It starts from
``qacc_warmstart``, which is the solver's solution at that very state, so it reproduces the forces to about 1e-11.
"""

from __future__ import annotations

import mujoco
import torch
from torch import Tensor

from envs.mdp.frames import rotate_inverse
from envs.mujoco.physics import Physics

ROOT = 1


def add_force_sensor(spec: mujoco.MjSpec) -> None:
    """Add an invisible site with a force sensor to the root body, so that forward passes compute ``cfrc_ext``."""
    spec.bodies[ROOT].add_site(name="contact_forces", group=5, rgba=[0.0, 0.0, 0.0, 0.0])
    kind = {"type": mujoco.mjtSensor.mjSENS_FORCE, "objtype": mujoco.mjtObj.mjOBJ_SITE}
    spec.add_sensor(name="contact_forces", objname="contact_forces", **kind)


class ContactForces:
    """Reads ``cfrc_ext`` at the last evaluation of the dynamics.

    For a free root (body 1) and hinges that each have a joint actuator; raises ValueError for other models.
    """

    def __init__(self, physics: Physics) -> None:
        model = physics.model
        joints = model.actuator_trnid[:, 0]
        hinges = sorted(range(1, model.njnt))
        if model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE or sorted(joints.tolist()) != hinges:
            raise ValueError("contact forces need a free root joint first and one joint actuator on every other joint")
        self._physics = physics
        self._state = [physics.field(name) for name in ("qpos", "qvel", "qacc_warmstart")]
        names = ("xpos", "xquat", "cvel", "subtree_com", "actuator_length", "actuator_velocity", "cfrc_ext")
        self._fields = {name: physics.field(name) for name in names}
        self._qpos_of = torch.tensor(model.jnt_qposadr[joints], device=physics.device).long()
        self._qvel_of = torch.tensor(model.jnt_dofadr[joints], device=physics.device).long()
        self._gear = torch.tensor(model.actuator_gear[:, 0], device=physics.device, dtype=physics.dtype)

    def __call__(self) -> Tensor:
        """Torque [N m] and force [N] of the contacts on every body, (N, nbody, 6), world axes, about the subtree's
        centre of mass. Call right after ``step``; the state is left as it was."""
        saved = [field.clone() for field in self._state]
        qpos, qvel = self._evaluated_state(saved[0], saved[1])
        self._state[0].copy_(qpos)
        self._state[1].copy_(qvel)
        self._physics.forward()
        for field, value in zip(self._state, saved, strict=True):
            field.copy_(value)
        return self._fields["cfrc_ext"].clone()

    def _evaluated_state(self, qpos: Tensor, qvel: Tensor) -> tuple[Tensor, Tensor]:
        """The state that the derived fields describe: inverse kinematics that is exact, since nothing is left out."""
        f, qpos, qvel = self._fields, qpos.clone(), qvel.clone()
        position, quat = f["xpos"][:, ROOT], f["xquat"][:, ROOT]
        angular, linear_at_com = f["cvel"][:, ROOT, :3], f["cvel"][:, ROOT, 3:]
        lever = f["subtree_com"][:, ROOT] - position
        qpos[:, :3], qpos[:, 3:7] = position, quat
        qvel[:, :3] = linear_at_com - torch.linalg.cross(angular, lever)
        qvel[:, 3:6] = rotate_inverse(quat, angular)
        qpos[:, self._qpos_of] = f["actuator_length"] / self._gear
        qvel[:, self._qvel_of] = f["actuator_velocity"] / self._gear
        return qpos, qvel
