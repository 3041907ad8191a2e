"""The two engines against each other: the same model and actions, 50 control steps of 4 substeps of 5 ms.

Warp computes in float32 and Batch in float64. Without contacts the rounding (6e-8 relative) grows slowly; after 200
substeps 1e-4 is a hundred times what is measured. With contacts a foot may touch down one substep earlier on one of
the engines, which moves a 15 kg robot by well below a millimetre before the constraint takes over; where nothing of
that kind happens the engines stay within 1e-5. The tolerances hold the middle: 1 mm and 2 mrad.
"""

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.batch import BatchPhysics
from envs.mujoco.physics import Physics, make_physics
from envs.mujoco.scene import SceneConfig, build_model
from envs.registry import make
from envs.robots import GO2

from .models import arm

pytest.importorskip("mujoco_warp")

CONTROL_STEPS, SUBSTEPS, WORLDS = 50, 4, 3
BOUND = ("xpos", "sensordata", "cvel", "actuator_force")


def engines(model: mujoco.MjModel, qpos: torch.Tensor, device: str, per_world=()) -> tuple[Physics, Physics]:
    """The same start on Batch and on Warp."""
    pair = (
        BatchPhysics(model, WORLDS, per_world=per_world, num_threads=1),
        make_physics(model, WORLDS, engine="warp", device=device, per_world=per_world),
    )
    for physics in pair:
        for name in BOUND:
            physics.field(name)
        physics.reset(torch.arange(WORLDS).to(physics.device), qpos.to(physics.device), torch.zeros(WORLDS, model.nv))
    return pair


def run(pair: tuple[Physics, Physics], controls: torch.Tensor) -> torch.Tensor:
    """Apply controls (T, WORLDS, nu) to both; largest difference of qpos over worlds and time, (nq,)."""
    worst = torch.zeros(pair[0].model.nq, dtype=torch.float64)
    for control in controls:
        for physics in pair:
            physics.field("ctrl").copy_(control)
            physics.step(SUBSTEPS)
            assert not physics.failed().any()
        worst = torch.maximum(worst, difference(pair, "qpos").amax(0))
    return worst


def difference(pair: tuple[Physics, Physics], name: str) -> torch.Tensor:
    return (pair[0].field(name) - pair[1].field(name).cpu().double()).abs()


def waves(offset: np.ndarray, amplitude: float) -> torch.Tensor:
    """Sines of 1.5 Hz about the offset (nu,), with a phase for each world and joint."""
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (1, WORLDS, len(offset)))
    time = 0.02 * np.arange(CONTROL_STEPS)[:, None, None]
    return torch.tensor(offset + amplitude * np.sin(2 * np.pi * 1.5 * time + phase))


def check_arm(device: str) -> None:
    model = arm()
    qpos = torch.tensor([[0.0, 0.1, -0.2], [0.5, -1.0, 0.3], [1.0, 1.0, 1.0]], dtype=torch.float64)
    pair = engines(model, qpos, device)
    worst = run(pair, waves(np.array([-0.5, 0.0, 0.0]), 0.6))
    assert pair[0].field("qpos").std(0).min() > 0.05  # the worlds differ and move
    assert worst.max() < 1e-4
    assert difference(pair, "xpos").max() < 1e-4
    assert difference(pair, "sensordata").max() < 1e-2  # accelerations of some 10 m/s^2


def check_go2(device: str, scene: SceneConfig, per_world=(), randomize=lambda physics: None) -> None:
    model = build_model(GO2, scene)
    home = model.key("home").id
    qpos = torch.tensor(model.key_qpos[home]).repeat(WORLDS, 1)
    qpos[:, 2] += torch.tensor([0.0, 0.01, 0.02])
    pair = engines(model, qpos, device, per_world)
    for physics in pair:
        randomize(physics)
    worst = run(pair, waves(model.key_ctrl[home], 0.2))
    moved = pair[0].field("qpos") - qpos
    assert moved[:, 7:].abs().max() > 0.05 and (pair[0].field("sensordata")[:, -4:] > 0).any()  # feet on the ground
    assert worst[:3].max() < 1e-3, "base position [m]"
    assert worst[3:7].max() < 1e-3, "base orientation"
    assert worst[7:].max() < 2e-3, "joints [rad]"


def heavier_and_slippery(physics: Physics) -> None:
    factor = torch.tensor([1.0, 1.2, 0.8], device=physics.device, dtype=physics.dtype)
    physics.model_field("body_mass")[:, 1] *= factor
    physics.model_field("body_inertia")[:, 1] *= factor[:, None]
    physics.model_field("geom_friction")[..., 0] *= factor[:, None]
    physics.set_const()


@pytest.mark.warp
def test_arm_without_contacts():
    check_arm("cpu")


@pytest.mark.warp
@pytest.mark.parametrize("integrator", ["implicitfast", "discrete"])
def test_go2_on_its_feet(integrator):
    check_go2("cpu", SceneConfig(integrator=integrator, visuals=False))


@pytest.mark.warp
def test_go2_with_masses_and_friction_per_world():
    fields = ("body_mass", "body_inertia", "geom_friction")
    check_go2("cpu", SceneConfig(visuals=False), fields, heavier_and_slippery)


@pytest.mark.warp
def test_the_task_go2_velocity():
    """The whole task: randomisation, delays, noise, a world that keeps falling and is reset; same draws, same ends."""
    pair = [make("go2_velocity", num_worlds=WORLDS, engine=name, num_threads=1) for name in ("batch", "warp")]
    batch_obs, warp_obs = (env.reset(seed=0) for env in pair)
    check_obs(batch_obs, warp_obs)
    generator, ends = torch.Generator().manual_seed(0), 0
    for _ in range(CONTROL_STEPS):
        action = 0.3 * torch.randn(WORLDS, 1, pair[0].spec.action.size, generator=generator)
        action[2] = 4.0 * action[2].sign()
        batch, warp = (env.step(action) for env in pair)
        assert batch.terminated.tolist() == warp.terminated.tolist()
        torch.testing.assert_close(batch.reward, warp.reward, rtol=0, atol=1e-4)
        check_obs(batch.obs, warp.obs)
        check_obs(batch.final_obs, warp.final_obs)
        ends += int(batch.done.sum())
    assert ends > 0


def check_obs(batch: dict[str, torch.Tensor], warp: dict[str, torch.Tensor]) -> None:
    assert batch.keys() == warp.keys()
    for name in batch:
        torch.testing.assert_close(batch[name], warp[name], rtol=0, atol=5e-3, msg=name)
