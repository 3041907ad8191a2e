"""WarpPhysics on a CUDA device. Not deterministic there: atomics add in any order."""

import pytest
import torch

from envs.mujoco.scene import SceneConfig

from .models import balls

pytest.importorskip("mujoco_warp")

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.warp,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

N = 64
NAMES = ("qpos", "qvel", "xpos", "sensordata")


def make(**options):
    from envs.mujoco.warp import WarpPhysics

    physics = WarpPhysics(balls(), N, device="cuda", **options)
    for name in NAMES:
        physics.field(name)
    begin(physics, torch.arange(N, device="cuda"))
    return physics


def begin(physics, worlds: torch.Tensor) -> None:
    qpos = torch.tensor(physics.model.qpos0, device="cuda").repeat(len(worlds), 1)
    qpos[:, 2] += worlds / 100
    physics.reset(worlds, qpos, torch.zeros(len(worlds), physics.model.nv, device="cuda"))


def drive(physics, steps: int) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    for _ in range(steps):
        physics.field("ctrl").copy_(torch.rand(N, 1, generator=generator, device="cuda") - 0.5)
        physics.step(4)


def test_arm_parity():
    from .test_parity import check_arm

    check_arm("cuda")


@pytest.mark.parametrize("integrator", ["implicitfast", "discrete"])
def test_go2_parity(integrator):
    from .test_parity import check_go2

    check_go2("cuda", SceneConfig(integrator=integrator, visuals=False))


def test_go2_parity_with_per_world_fields():
    from .test_parity import check_go2, heavier_and_slippery

    fields = ("body_mass", "body_inertia", "geom_friction")
    check_go2("cuda", SceneConfig(visuals=False), fields, heavier_and_slippery)


def test_graphs_compute_what_plain_launches_compute():
    graphs, plain = make(graphs=True), make(graphs=False)
    for physics in (graphs, plain):
        drive(physics, 10)
        begin(physics, torch.tensor([0, 5, 63], device="cuda"))
        drive(physics, 10)
    assert any(graph is not None for graph in graphs._worlds._graphs.values())
    for name in NAMES:
        torch.testing.assert_close(graphs.field(name), plain.field(name), rtol=1e-3, atol=1e-3, msg=name)


def test_fields_alias_warps_memory():
    physics = make()
    qpos = physics.field("qpos")
    assert qpos.is_cuda and qpos.data_ptr() == physics._worlds.data.qpos.ptr
    qpos[7, 0] = 0.625
    drive(physics, 3)
    torch.cuda.synchronize()
    assert physics.field("qpos").data_ptr() == qpos.data_ptr() == physics._worlds.data.qpos.ptr
    qpos[7, 0] = 0.75
    torch.cuda.synchronize()
    assert physics._worlds.data.qpos.numpy()[7, 0] == 0.75


def test_work_is_ordered_with_torchs_stream():
    """On a stream of its own, a step sees the controls written just before, and its result is read just after."""
    reference, physics = make(), make()
    drive(reference, 4)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        drive(physics, 4)
        qpos = physics.field("qpos").clone()
    stream.synchronize()
    torch.testing.assert_close(qpos, reference.field("qpos"), rtol=1e-3, atol=1e-3)


def test_a_broken_world_poisons_no_other():
    physics = make()
    drive(physics, 3)
    physics.field("qvel")[5] = float("nan")
    drive(physics, 2)
    assert physics.failed().nonzero().flatten().tolist() == [5]
    begin(physics, torch.tensor([5], device="cuda"))
    drive(physics, 3)
    assert not physics.failed().any() and all(physics.field(name).isfinite().all() for name in NAMES)


def test_constants_follow_per_world_masses():
    physics = make(per_world=("body_mass",))
    physics.model_field("body_mass")[3] *= 2.0
    physics.set_const(torch.tensor([3], device="cuda"))
    masses = [physics.get_model_data(world)[0].body_subtreemass[0] for world in (2, 3)]
    assert masses == pytest.approx([4.0, 8.0])
