"""Contact forces of a batch against mj_step followed by mj_rnePostConstraint on one MjData."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.physics import make_physics
from envs.tasks.classic.contact_forces import ContactForces, add_force_sensor
from envs.tasks.classic.task import ASSETS


@pytest.mark.parametrize("integrator", ["RK4", "EULER", "IMPLICITFAST"])
def test_equals_rne_post_constraint(integrator: str) -> None:
    spec = mujoco.MjSpec.from_file(str(ASSETS / "ant.xml"))
    spec.option.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator}")
    single = spec.compile()
    data = mujoco.MjData(single)
    add_force_sensor(spec)
    physics = make_physics(spec.compile(), 2, engine="batch", num_threads=1)
    forces = ContactForces(physics)
    mujoco.mj_forward(single, data)
    physics.forward()
    rng, largest = np.random.default_rng(1), 0.0
    for _ in range(60):
        ctrl = rng.uniform(-1.0, 1.0, single.nu)
        data.ctrl[:] = ctrl
        physics.field("ctrl")[:] = torch.from_numpy(ctrl)
        mujoco.mj_step(single, data, nstep=5)
        mujoco.mj_rnePostConstraint(single, data)
        physics.step(5)
        state = [physics.field(name).clone() for name in ("qpos", "qvel", "qacc_warmstart")]
        measured = forces()
        np.testing.assert_allclose(measured[1], data.cfrc_ext, atol=1e-7)
        after = [physics.field(name) for name in ("qpos", "qvel", "qacc_warmstart")]
        assert all(torch.equal(a, b) for a, b in zip(state, after, strict=True))
        largest = max(largest, float(np.abs(data.cfrc_ext).max()))
    assert largest > 10.0  # the feet did touch the ground


def test_planar_models_are_refused() -> None:
    spec = mujoco.MjSpec.from_file(str(ASSETS / "hopper.xml"))
    with pytest.raises(ValueError, match="free root"):
        ContactForces(make_physics(spec.compile(), 1, engine="batch", num_threads=1))
