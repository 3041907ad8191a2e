"""WarpPhysics on Warp's CPU device: the same contract as BatchPhysics, in float32."""

import mujoco
import numpy as np
import pytest
import torch

from envs.mujoco.batch import BatchPhysics

from .models import arm, balls

pytest.importorskip("mujoco_warp")
from envs.mujoco.warp import WarpPhysics

pytestmark = pytest.mark.warp

N = 3
BOUND = ("xpos", "xmat", "sensordata", "qacc", "cvel")
STATE = ("qpos", "qvel", "qacc_warmstart", "time", "ctrl")


def make(model: mujoco.MjModel | None = None, n: int = N, **options) -> WarpPhysics:
    """Worlds reset to the model's defaults, world i raised or turned by i / 100."""
    physics = WarpPhysics(model or balls(), n, device="cpu", **options)
    for name in BOUND:
        physics.field(name)
    begin(physics)
    return physics


def begin(physics, worlds=None) -> None:
    worlds = torch.arange(physics.num_worlds) if worlds is None else torch.tensor(worlds)
    qpos = torch.tensor(physics.model.qpos0).repeat(len(worlds), 1)
    qpos[:, 2] += worlds / 100
    physics.reset(worlds, qpos, torch.zeros(len(worlds), physics.model.nv, dtype=qpos.dtype))


def snapshot(physics, rows=slice(None)) -> dict[str, torch.Tensor]:
    return {name: physics.field(name)[rows].clone() for name in (*STATE, *BOUND)}


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def drive(physics, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ctrl = physics.field("ctrl")
        ctrl.copy_(torch.rand(ctrl.shape, generator=generator) - 0.5)
        physics.step(4)


def close_to(warp, batch, names, atol) -> None:
    for name in names:
        torch.testing.assert_close(warp.field(name).double(), batch.field(name), rtol=1e-4, atol=atol, msg=name)


def test_shapes_are_those_of_the_batch_engine():
    names = ["qpos", "qvel", "ctrl", "time", "xpos", "xquat", "xmat", "site_xmat", "geom_xmat", "xfrc_applied", "cvel"]
    names += (
        "sensordata",
        "subtree_com",
        "actuator_force",
        "qfrc_bias",
        "cinert",
        "energy",
        "nefc",
        "mocap_pos",
        "act",
    )
    per_world = ("body_mass", "body_inertia", "geom_friction", "actuator_gainprm", "jnt_range", "opt.gravity")
    mine = WarpPhysics(balls(), 2, device="cpu", per_world=per_world)
    theirs = BatchPhysics(balls(), 2, per_world=per_world, num_threads=1)
    for name in names:
        assert mine.field(name).shape == theirs.field(name).shape, name
    for name in per_world:
        torch.testing.assert_close(mine.model_field(name).double(), theirs.model_field(name), msg=name)


def test_fields_alias_warps_memory_and_stay_in_place():
    physics = make(per_world=("body_mass",))
    qpos, sensors = physics.field("qpos"), physics.field("sensordata")
    addresses = qpos.data_ptr(), sensors.data_ptr(), physics.model_field("body_mass").data_ptr()
    qpos[1, 0] = 0.625
    physics.model_field("body_mass")[2, 1] = 5.5
    assert physics._worlds.data.qpos.numpy()[1, 0] == 0.625
    assert physics._worlds.model.body_mass.numpy()[2, 1] == 5.5
    drive(physics, 3)
    begin(physics, [1])
    physics.forward()
    assert np.shares_memory(physics.field("qpos").numpy(), physics._worlds.data.qpos.numpy())
    assert addresses == (qpos.data_ptr(), sensors.data_ptr(), physics.model_field("body_mass").data_ptr())


def test_graphs_compute_what_plain_launches_compute():
    graphs, plain = make(graphs=True), make(graphs=False)
    for physics in (graphs, plain):
        drive(physics, 5)
        begin(physics, [0, 2])
        drive(physics, 5)
        physics.forward()
    assert same(snapshot(graphs), snapshot(plain))


def test_sensors_of_the_last_substep_are_all_that_a_step_leaves():
    at_once, singly = make(), make()
    for _ in range(5):
        at_once.step(4)
        for _ in range(4):
            singly.step(1)
    assert same(snapshot(at_once), snapshot(singly))
    assert at_once.field("sensordata")[0].any()


def test_derived_fields_are_late_after_step_and_current_after_forward():
    physics = make()
    lag = lambda: (physics.field("xpos")[:, 2, 2] - physics.field("qpos")[:, 9]).abs()  # noqa: E731, body "ball"
    physics.step(1)
    physics.step(1)
    assert (lag() > 1e-5).all()
    physics.forward(torch.tensor([1]))
    assert lag()[1] == 0 and (lag()[[0, 2]] > 1e-5).all()
    physics.forward()
    assert not lag().any()


def test_a_field_named_late_is_current_and_leaves_the_others_as_they_were():
    physics = make()
    drive(physics, 3)
    begin(physics, [1])
    before = snapshot(physics)
    torch.testing.assert_close(physics.field("subtree_com")[:, 2], physics.field("qpos")[:, 7:10])
    assert same(before, snapshot(physics))


def test_reset_touches_its_worlds_only():
    physics, batch = make(), BatchPhysics(balls(), N, num_threads=1)
    for name in BOUND:
        batch.field(name)
    begin(batch)
    for engine in (physics, batch):
        drive(engine, 5)
        engine.field("xfrc_applied")[:] = 0.25
    others = snapshot(physics, [0, 2])
    for engine in (physics, batch):
        begin(engine, [1])
    assert same(others, snapshot(physics, [0, 2]))
    for name in ("time", "ctrl", "qacc_warmstart", "xfrc_applied"):
        assert not physics.field(name)[1].any(), name
    close_to(physics, batch, ("qpos", "qvel", "xpos", "xmat", "cvel", "qacc"), atol=1e-3)


def test_more_resets_than_the_bench_has_room_for():
    physics, n = make(arm(), n=150), 150
    assert physics._bench.n < n
    physics.step(4)
    worlds = torch.arange(0, n, 2)
    begin(physics, worlds.tolist())
    torch.testing.assert_close(physics.field("qpos")[worlds, 2], worlds / 100)
    assert not physics.field("time")[worlds].any() and (physics.field("time")[1::2] > 0).all()
    tips = physics.field("xpos")[:, 3, 0]
    torch.testing.assert_close(tips[worlds], torch.full((75,), 0.55))


@pytest.mark.parametrize("name, value", [("qvel", np.nan), ("qpos", 3e10), ("ctrl", np.nan)])
def test_a_broken_world_is_flagged_until_its_reset_and_poisons_no_other(name, value):
    broken, sound = make(), make()
    broken.field(name)[1, 0] = value
    for physics in (broken, sound):
        physics.step(1)
        physics.step(3)
    assert broken.failed().tolist() == [False, True, False] and not sound.failed().any()
    assert same(snapshot(broken, [0, 2]), snapshot(sound, [0, 2]))
    broken.forward(torch.tensor([1]))  # NaN on the bench must not stay there
    for physics in (broken, sound):
        begin(physics, [1])
    assert not broken.failed().any()
    for physics in (broken, sound):
        drive(physics, 3)
    assert same(snapshot(broken), snapshot(sound)) and not broken.failed().any()


def test_failure_holds_the_state_before_the_step_that_failed():
    physics, batch = make(per_world=("body_mass",)), BatchPhysics(balls(), N, per_world=("body_mass",), num_threads=1)
    begin(batch)
    for engine in (physics, batch):
        engine.field("ctrl")[1] = 0.5
        engine.step(2)
        engine.field("qvel")[1, 0] = np.inf
        engine.step(3)
        engine.step(1)
    mine, theirs = physics.failure(1), batch.failure(1)
    torch.testing.assert_close(mine["state"], theirs["state"], rtol=1e-4, atol=1e-4)
    assert (
        (mine["substeps"], mine["state_spec"]) == (theirs["substeps"], theirs["state_spec"]) == (3, mine["state_spec"])
    )
    torch.testing.assert_close(mine["model_fields"]["body_mass"].double(), theirs["model_fields"]["body_mass"])


def test_constants_follow_per_world_masses_as_in_c():
    per_world = ("body_mass", "body_inertia", "geom_size", "dof_armature")
    physics, batch = make(arm(), per_world=per_world), BatchPhysics(arm(), N, per_world=per_world, num_threads=1)
    begin(batch)
    for engine in (physics, batch):
        engine.model_field("body_mass")[1] *= 2.0
        engine.model_field("body_inertia")[1] *= 3.0
        engine.model_field("dof_armature")[2] += 0.05
        engine.model_field("geom_size")[2] *= 1.5
        engine.set_const(torch.tensor([1, 2]))
    derived = ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0", "geom_rbound", "geom_aabb")
    for world in range(N):
        mine, theirs = physics.get_model_data(world)[0], batch.get_model_data(world)[0]
        for name in (*per_world, *derived):
            np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=1e-5, atol=1e-7, err_msg=name)
    assert physics.get_model_data(1)[0].body_subtreemass[0] == pytest.approx(2 * arm().body_subtreemass[0])
    for engine in (physics, batch):
        begin(engine)
        drive(engine, 5)
    close_to(physics, batch, ("qpos", "qvel"), atol=1e-4)
    assert (physics.field("qpos")[0] - physics.field("qpos")[1]).abs().max() > 1e-3


def test_set_const_spares_the_other_worlds_and_their_fields():
    physics = make(arm(), per_world=("body_mass",))
    drive(physics, 3)
    before = snapshot(physics)
    physics.model_field("body_mass")[:] *= 2.0
    physics.set_const(torch.tensor([1]))
    assert same(before, snapshot(physics))
    masses = [physics.get_model_data(world)[0].body_subtreemass[0] for world in range(N)]
    assert masses == pytest.approx([1.9, 3.8, 1.9])


def test_gravity_per_world():
    physics = make(per_world=("opt.gravity",))
    physics.model_field("opt.gravity")[:, 2] = torch.tensor([0.0, -5.0, -10.0])
    physics.step(4)
    speed = physics.field("qvel")[:, 6 + 2]  # the ball falls freely for 4 substeps of 5 ms
    torch.testing.assert_close(speed, torch.tensor([0.0, -5.0, -10.0]) * 0.02, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fresh", [False, True])
def test_continuation_is_bit_exact(fresh):
    per_world = ("body_mass", "geom_friction")
    physics = make(per_world=per_world)
    physics.model_field("body_mass")[1] *= 1.5
    physics.model_field("geom_friction")[2] *= 0.5
    physics.set_const()
    drive(physics, 20, seed=1)
    state, late = physics.state_dict(), snapshot(physics)
    drive(physics, 20, seed=2)
    wanted = snapshot(physics)
    resumed = make(per_world=per_world) if fresh else physics
    resumed.load_state_dict(state)
    assert same(late, snapshot(resumed))
    drive(resumed, 20, seed=2)
    assert same(wanted, snapshot(resumed))


def test_overflow_is_said_once_with_what_to_enlarge():
    physics = make(njmax=2)
    with pytest.warns(RuntimeWarning, match="NEFC overflow.*enlarge njmax"):
        for _ in range(65):  # the flags are looked at now and then
            physics.step(1)
    assert not physics.failed().any()


def test_fields_named_in_inference_mode_can_be_written_outside_of_it():
    with torch.inference_mode():
        physics = WarpPhysics(balls(), 2, device="cpu", per_world=("body_mass",))
        physics.field("qvel"), physics.field("xpos")
        physics.step(1)
    physics.field("qvel")[0, 0] = 0.5
    physics.model_field("body_mass")[0, 1] = 3.0
    physics.reset(torch.tensor([1]), torch.tensor(physics.model.qpos0)[None], torch.zeros(1, physics.model.nv))
    state = physics.state_dict()
    physics.load_state_dict(state)
    assert physics.field("qvel")[0, 0] == 0.5


def test_errors_name_the_valid_choices():
    with pytest.raises(ValueError, match=r"did you mean.*body_mass"):
        WarpPhysics(balls(), 1, device="cpu", per_world=("body_mas",))
    with pytest.raises(ValueError, match="mujoco_warp has no per-world values of 'geom_condim'"):
        WarpPhysics(balls(), 1, device="cpu", per_world=("geom_condim",))
    with pytest.raises(ValueError, match="at least 1"):
        WarpPhysics(balls(), 0, device="cpu")
    with pytest.raises(ValueError, match="runs on cuda or cpu"):
        WarpPhysics(balls(), 1, device="meta")
    physics = WarpPhysics(balls(), 1, device="cpu", per_world=("body_mass",))
    with pytest.raises(ValueError, match=r"did you mean.*qpos"):
        physics.field("qposs")
    with pytest.raises(ValueError, match="per_world names"):
        physics.model_field("body_inertia")
    with pytest.raises(ValueError, match="per-world fields"):
        physics.load_state_dict(WarpPhysics(balls(), 1, device="cpu").state_dict())
    physics.close()
    physics.close()
