"""BatchPhysics against a plain loop over MuJoCo's own C structures, and what it does with worlds that break."""

import warnings

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import SimulationError

from envs.mujoco.batch import BatchPhysics
from envs.mujoco.physics import Physics

from .models import ARM, arm, balls

BOUND = ("xpos", "xmat", "sensordata", "qacc", "cvel")


def make(n: int = 3, model: mujoco.MjModel | None = None, **options) -> BatchPhysics:
    """Worlds reset to the model's defaults, world i raised or turned by i / 100."""
    physics = BatchPhysics(model or balls(), n, num_threads=1, **options)
    for name in BOUND:
        physics.field(name)
    physics.reset(torch.arange(n), *start(physics, n))
    return physics


def start(physics: Physics, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    qpos = torch.tensor(physics.model.qpos0).repeat(n, 1)
    qpos[:, 2] += torch.arange(n, dtype=qpos.dtype) / 100
    return qpos, torch.zeros(n, physics.model.nv, dtype=torch.float64)


def snapshot(physics: Physics, rows=slice(None)) -> dict[str, torch.Tensor]:
    return {name: physics.field(name)[rows].clone() for name in ("qpos", "qvel", "qacc_warmstart", "time", *BOUND)}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def drive(physics: Physics, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ctrl = physics.field("ctrl")
        ctrl.copy_(torch.rand(ctrl.shape, generator=generator) - 0.5)
        physics.step(4)


def test_step_equals_a_loop_over_mj_step_bit_for_bit():
    model = balls()
    physics = make(3, model)
    datas = [mujoco.MjData(model) for _ in range(3)]
    for i, data in enumerate(datas):
        data.qpos[2] += i / 100
        mujoco.mj_forward(model, data)
    for step in range(30):
        for i, data in enumerate(datas):
            data.ctrl[:] = physics.field("ctrl")[i] = 0.1 * i + np.sin(step)
            for _ in range(4):
                mujoco.mj_step(model, data)
        physics.step(4)
        for name in ("qpos", "qvel", *BOUND):
            for i, data in enumerate(datas):
                np.testing.assert_array_equal(physics.field(name)[i].numpy(), getattr(data, name), err_msg=name)


def test_derived_fields_are_late_after_step_and_current_after_forward():
    physics = make()
    fall = lambda: physics.field("xpos")[:, 2, 2] - physics.field("qpos")[:, 7 + 2]  # noqa: E731, body "ball"
    physics.step(1)
    assert (fall().abs() > 1e-5).all()
    physics.forward()
    assert torch.equal(fall(), torch.zeros(3, dtype=torch.float64))


def test_a_field_named_late_is_current_and_leaves_the_others_as_they_were():
    physics = make()
    drive(physics, 3)
    before = snapshot(physics)
    torch.testing.assert_close(physics.field("subtree_com")[:, 2], physics.field("qpos")[:, 7:10], rtol=0, atol=1e-12)
    assert same(before, snapshot(physics))


def test_reset_touches_its_worlds_only_and_needs_no_order():
    physics = make(4)
    drive(physics, 5)
    physics.field("xfrc_applied")[:] = 0.25
    others = snapshot(physics, [0, 2])
    worlds = torch.tensor([3, 1])
    qpos, qvel = start(physics, 4)
    qvel[:, 0] = torch.arange(4)
    physics.reset(worlds, qpos[worlds], qvel[worlds])
    assert same(others, snapshot(physics, [0, 2]))
    assert physics.field("qvel")[1, 0] == 1 and physics.field("qvel")[3, 0] == 3
    assert physics.field("qpos")[3, 2] == pytest.approx(0.11 + 0.03)
    for name in ("time", "ctrl", "qacc_warmstart", "xfrc_applied"):
        assert not physics.field(name)[worlds].any(), name
    assert torch.equal(physics.field("xpos")[worlds, 1], physics.field("qpos")[worlds, :3])


def test_reset_of_no_world_does_nothing():
    physics = make()
    before = snapshot(physics)
    physics.reset(torch.zeros(0, dtype=torch.long), *(x[:0] for x in start(physics, 1)))
    assert same(before, snapshot(physics))


@pytest.mark.parametrize("name, value", [("qvel", np.nan), ("qvel", np.inf), ("qpos", 3e10), ("ctrl", np.nan)])
def test_a_broken_world_is_flagged_until_its_reset_and_poisons_no_other(name, value, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    broken, sound = make(), make()
    broken.field(name)[1, 0] = value
    for physics in (broken, sound):
        physics.step(1)
        physics.step(3)  # MuJoCo has put the broken world back to the defaults by now
    assert broken.failed().tolist() == [False, True, False] and not sound.failed().any()
    assert same(snapshot(broken, [0, 2]), snapshot(sound, [0, 2]))
    world = torch.tensor([1])
    for physics in (broken, sound):
        qpos, qvel = start(physics, 3)
        physics.reset(world, qpos[world], qvel[world])
    assert not broken.failed().any()
    for physics in (broken, sound):
        drive(physics, 3)
    assert same(snapshot(broken), snapshot(sound)) and not broken.failed().any()
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


def test_silence_ends_with_the_call():
    physics = make()
    physics.field("qvel")[1] = np.nan
    physics.step(1)
    config = mujoco.MjLogConfig.get()
    assert config.logto_console and config.logto_file


def test_failure_holds_the_state_before_the_step_that_failed():
    physics = make(per_world=("body_mass",))
    physics.step(2)
    physics.field("qvel")[1, 0] = np.inf
    bad = physics._batch.state[1].copy()
    physics.step(3)
    physics.step(1)
    failure = physics.failure(1)
    np.testing.assert_array_equal(failure["state"].numpy(), bad)
    assert failure["substeps"] == 3
    assert torch.equal(failure["model_fields"]["body_mass"], torch.tensor(physics.model.body_mass))


def test_worlds_in_which_mujoco_raises_count_as_failed(monkeypatch):
    physics = make()

    def raising(*args, **kwargs):
        raise SimulationError(np.array([2]), "stack overflow")

    with monkeypatch.context() as patch:
        patch.setattr(physics._batch, "forward", raising)
        physics.forward()
    assert physics.failed().tolist() == [False, False, True]
    with monkeypatch.context() as patch:
        patch.setattr(physics._batch, "step", raising)
        physics.step(1)
    assert physics.failed().tolist() == [False, False, True]
    physics.reset(torch.arange(3), *start(physics, 3))
    with monkeypatch.context() as patch:
        patch.setattr(physics._batch, "rollout", raising)
        physics.step_schedule(schedule())
    assert physics.failed().tolist() == [False, False, True]
    physics.reset(torch.arange(3), *start(physics, 3))
    assert not physics.failed().any()


def test_too_little_memory_is_said_once():
    falling = "".join(f'<body pos="{i} 0 .05"><freejoint/><geom type="box" size=".1 .1 .1"/></body>' for i in range(4))
    xml = f'<mujoco><size memory="8K"/><worldbody><geom type="plane" size="0 0 1"/>{falling}</worldbody></mujoco>'
    physics = BatchPhysics(mujoco.MjModel.from_xml_string(xml), 2, num_threads=1)
    with pytest.warns(RuntimeWarning, match="enlarge <size memory"):
        physics.step(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        physics.step(1)
    assert not physics.failed().any()


def test_set_const_makes_a_world_equal_to_a_model_compiled_that_way():
    physics = make(2, arm(), per_world=("body_mass", "body_inertia"))
    for name in ("body_mass", "body_inertia"):
        physics.model_field(name)[1] *= 2.0
    physics.set_const(torch.tensor([1]))
    spec = mujoco.MjSpec.from_string(ARM)
    for geom in spec.geoms:
        geom.mass *= 2.0
    heavy = spec.compile()
    for world, model in ((0, physics.model), (1, heavy)):
        mine = physics.get_model_data(world)[0]
        for name in ("body_mass", "body_subtreemass", "dof_invweight0", "body_invweight0", "actuator_acc0"):
            np.testing.assert_allclose(getattr(mine, name), getattr(model, name), rtol=1e-12, err_msg=name)
    data = mujoco.MjData(heavy)
    data.qpos[2] += 1 / 100
    mujoco.mj_step(heavy, data, 4)
    physics.step(4)
    np.testing.assert_allclose(physics.field("qpos")[1].numpy(), data.qpos, rtol=1e-12)


@pytest.mark.parametrize("fresh", [False, True])
def test_continuation_is_bit_exact(fresh):
    per_world = ("body_mass", "geom_friction", "opt.gravity")
    physics = make(per_world=per_world)
    physics.model_field("body_mass")[1] *= 1.5
    physics.model_field("geom_friction")[2] *= 0.5
    physics.model_field("opt.gravity")[0, 2] = -5.0
    physics.set_const()
    drive(physics, 20, seed=1)
    state = physics.state_dict()
    late = snapshot(physics)
    drive(physics, 20, seed=2)
    wanted = snapshot(physics)
    resumed = make(per_world=per_world) if fresh else physics
    resumed.load_state_dict(state)
    assert same(late, snapshot(resumed))
    drive(resumed, 20, seed=2)
    assert same(wanted, snapshot(resumed))


def test_state_of_another_size_or_with_other_fields_is_refused():
    with pytest.raises(ValueError, match="state of shape"):
        make(3).load_state_dict(make(2).state_dict())
    with pytest.raises(ValueError, match="per-world fields"):
        make(3).load_state_dict(make(3, per_world=("body_mass",)).state_dict())


def test_threads_do_not_change_a_bit():
    one, two = make(8), BatchPhysics(balls(), 8, num_threads=2)
    for name in BOUND:
        two.field(name)
    two.reset(torch.arange(8), *start(two, 8))
    for physics in (one, two):
        drive(physics, 10)
    assert same(snapshot(one), snapshot(two))


def test_fields_are_live_views():
    physics = make()
    qpos, xpos, mass = physics.field("qpos"), physics.field("xpos"), make(per_world=("body_mass",))
    before = xpos.clone()
    qpos[:, 7:9] += 1.0
    physics.forward()
    assert torch.equal(xpos[:, 2, :2], before[:, 2, :2] + 1.0)
    assert physics.field("qpos") is qpos and physics.field("xpos") is xpos
    mass.model_field("body_mass")[2, 1] = 7.0
    assert mass.get_model_data(2)[0].body_mass[1] == 7.0 and mass.model.body_mass[1] == 2.0


def test_fields_named_in_inference_mode_can_be_written_outside_of_it():
    with torch.inference_mode():
        physics = BatchPhysics(balls(), 2, per_world=("body_mass",), num_threads=1)
        physics.field("qvel"), physics.field("xpos")
        physics.step(1)
    physics.field("qvel")[0, 0] = 0.5
    physics.model_field("body_mass")[0, 1] = 3.0
    physics.reset(torch.tensor([1]), torch.tensor(physics.model.qpos0)[None], torch.zeros(1, physics.model.nv))
    state = physics.state_dict()
    physics.load_state_dict(state)
    assert physics.field("qvel")[0, 0] == 0.5


def test_errors_name_the_valid_choices():
    with pytest.raises(ValueError, match="num_worlds must be at least 1"):
        BatchPhysics(balls(), 0)
    with pytest.raises(ValueError, match=r"did you mean.*body_mass"):
        BatchPhysics(balls(), 1, per_world=("body_mas",))
    physics = make(1, per_world=("body_mass",))
    with pytest.raises(ValueError, match=r"did you mean.*qpos"):
        physics.field("qposs")
    with pytest.raises(ValueError, match=r"per_world names \['body_mass'\]"):
        physics.model_field("geom_friction")


def test_is_a_physics_and_closes_twice():
    physics = make()
    assert isinstance(physics, Physics)
    physics.close()
    physics.close()


def schedule(n: int = 3) -> list[tuple[torch.Tensor, int]]:
    """Controls of one substep and of three."""
    ctrl = torch.linspace(-0.5, 0.5, 2 * n * balls().nu).view(2, n, -1)
    return [(ctrl[0], 1), (ctrl[1], 3)]


def test_a_schedule_equals_a_step_for_each_of_its_controls():
    whole, apart = make(), make()
    for _ in range(5):
        whole.step_schedule(schedule())
        for ctrl, substeps in schedule():
            apart.field("ctrl").copy_(ctrl)
            apart.step(substeps)
        assert same(snapshot(whole), snapshot(apart))
    assert torch.equal(whole.field("ctrl"), schedule()[-1][0].double())


def test_schedules_of_other_lengths_may_follow_each_other():
    whole, apart = make(), make()
    first, second = schedule()
    for parts in ([first, second], [second], [second, first], [(first[0], 2), (second[0], 2)]):
        whole.step_schedule(parts)
        by_steps(apart, parts)
        assert same(snapshot(whole), snapshot(apart))


def by_steps(physics: BatchPhysics, parts: list[tuple[torch.Tensor, int]]) -> None:
    for ctrl, substeps in parts:
        physics.field("ctrl").copy_(ctrl)
        physics.step(substeps)


def pile() -> mujoco.MjModel:
    """Four boxes on the ground, for whose contacts there is too little memory, and a motor on one of them."""
    boxes = "".join(
        f'<body pos="{i} 0 .05"><joint name="x{i}" type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>'
        '<joint type="hinge" axis="0 1 0"/><geom type="box" size=".1 .1 .1"/></body>'
        for i in range(4)
    )
    world = f'<geom type="plane" size="0 0 1"/>{boxes}'
    motor = '<actuator><motor joint="x0"/></actuator>'
    return mujoco.MjModel.from_xml_string(f'<mujoco><size memory="8K"/><worldbody>{world}</worldbody>{motor}</mujoco>')


def test_a_world_that_MuJoCo_warned_of_goes_through_the_whole_schedule():
    """A rollout would leave it at the first contact that was dropped; world 1 is in the air and drops none."""
    physics = [BatchPhysics(pile(), 2, num_threads=1) for _ in range(2)]
    for each in physics:
        each.field("xpos")
        qpos = torch.zeros(2, 12, dtype=torch.float64)
        qpos[1, 1::3] = 1.0
        each.reset(torch.arange(2), qpos, torch.zeros(2, 12))
    parts = [(torch.tensor([[5.0], [5.0]]), 1), (torch.tensor([[-9.0], [-9.0]]), 3)]
    with pytest.warns(RuntimeWarning, match="world 0: .*enlarge <size memory"):
        physics[0].step_schedule(parts)
    with pytest.warns(RuntimeWarning, match="enlarge <size memory"):
        by_steps(physics[1], parts)
    for _ in range(2):
        for name in ("time", "qpos", "qvel", "qacc_warmstart", "ctrl", "xpos"):
            assert torch.equal(*(each.field(name) for each in physics)), name
        physics[0].step_schedule(parts)
        by_steps(physics[1], parts)
    torch.testing.assert_close(physics[0].field("time"), torch.full((2,), 12 * 0.002, dtype=torch.float64))
    assert not physics[0].failed().any()


def test_a_control_that_is_no_number_ends_neither_the_schedule_nor_the_world():
    """As in separate steps: MuJoCo takes zero instead, and the next control is a number again."""
    whole, apart = make(), make()
    parts = schedule()
    parts[0][0][1] = torch.nan
    whole.step_schedule(parts)
    by_steps(apart, parts)
    assert same(snapshot(whole), snapshot(apart)) and not whole.failed().any()


@pytest.mark.parametrize("part", [0, 1])
def test_failure_in_a_schedule_is_that_of_the_part_that_broke(part):
    """A motor that accelerates beyond MuJoCo's limit from the first part on, or from the second."""
    strong = balls()
    strong.actuator_gear[:, 0] = 1e3
    broken, apart = make(model=strong), make(model=strong)
    parts = schedule()
    parts[part][0][1] = 9e9
    broken.step_schedule(parts)
    assert broken.failed().tolist() == [False, True, False]
    for ctrl, substeps in parts[: part + 1]:
        apart.field("ctrl").copy_(ctrl)
        before = apart._batch.state[1].copy()
        apart.step(substeps)
    broken.step_schedule(schedule())  # does not forget it
    failure = broken.failure(1)
    np.testing.assert_array_equal(failure["state"].numpy(), before)
    assert failure["substeps"] == parts[part][1]
