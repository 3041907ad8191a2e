"""Domain randomisation: laws, effects on the model, and the constants that follow."""

import mujoco
import pytest
import torch

from envs.mujoco.physics import make_physics
from envs.mujoco.randomization import TARGETS, Draws, Law, Randomizer, parse, per_world_fields, robot_parts

XML = """
<mujoco>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body name="base" pos="0 0 1">
      <freejoint/>
      <inertial mass="5" pos="0 0 0" diaginertia=".1 .2 .25"/>
      <body name="leg" pos="0 0 -.2">
        <inertial mass="1" pos="0 0 -.1" diaginertia=".01 .01 .001"/>
        <joint name="knee" axis="0 1 0" armature=".01" frictionloss=".2"/>
        <geom name="L_foot" size=".02" pos="0 0 -.2" friction=".8 .005 .0001"/>
      </body>
    </body>
  </worldbody>
  <actuator><position name="knee" joint="knee" kp="30" kv=".5" forcerange="-20 20"/></actuator>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(XML)
PARTS = robot_parts(MODEL, "base", ["L_foot"], ["knee"], ["knee"])
N = 512


def randomize(config, draws=1):
    laws = parse(config)
    physics = make_physics(MODEL, N, engine="batch", per_world=per_world_fields(laws), num_threads=1)
    randomizer = Randomizer(laws, physics, PARTS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(draws):
        randomizer.draw(torch.arange(N), generator)
    return physics, randomizer


def test_foot_friction_is_set_on_the_feet_alone():
    physics, randomizer = randomize({"foot_friction": {"low": 0.3, "high": 1.2}})
    friction = physics.model_field("geom_friction")
    feet, floor = friction[:, MODEL.geom("L_foot").id, 0], friction[:, 0, 0]
    torch.testing.assert_close(feet.float(), randomizer.samples["foot_friction"][:, 0])
    assert 0.3 <= float(feet.min()) < 0.32 and 1.18 < float(feet.max()) <= 1.2
    assert bool((floor == 1.0).all())


def test_base_mass_scales_inertia_and_updates_constants():
    physics, randomizer = randomize({"base_mass": {"low": -1.5, "high": 2.0}})
    added = randomizer.samples["base_mass"][:, 0].double()
    base = MODEL.body("base").id
    torch.testing.assert_close(physics.model_field("body_mass")[:, base], 5.0 + added)
    torch.testing.assert_close(physics.model_field("body_inertia")[:, base, 1], 0.2 * (5.0 + added) / 5.0)
    for world in (0, 7):
        model, _ = physics.get_model_data(world)
        reference = mujoco.MjModel.from_xml_string(XML)
        reference.body_mass[base] = 5.0 + float(added[world])
        reference.body_inertia[base] *= (5.0 + float(added[world])) / 5.0
        mujoco.mj_setConst(reference, mujoco.MjData(reference))
        assert model.body_subtreemass[base] == pytest.approx(reference.body_subtreemass[base], rel=1e-6)
        assert model.dof_invweight0 == pytest.approx(reference.dof_invweight0, rel=1e-6)


def test_gains_keep_position_and_bias_consistent():
    physics, randomizer = randomize({"kp": {"low": 0.8, "high": 1.2}, "kd": {"low": 0.5, "high": 2.0}})
    scale_p, scale_d = (randomizer.samples[name][:, 0].double() for name in ("kp", "kd"))
    gain, bias = physics.model_field("actuator_gainprm")[:, 0], physics.model_field("actuator_biasprm")[:, 0]
    torch.testing.assert_close(gain[:, 0], 30.0 * scale_p)
    torch.testing.assert_close(bias[:, 1], -30.0 * scale_p)
    torch.testing.assert_close(bias[:, 2], -0.5 * scale_d)


def test_motor_strength_scales_torque_and_its_limit():
    physics, randomizer = randomize({"motor_strength": {"low": 0.9, "high": 1.1}})
    scale = randomizer.samples["motor_strength"][:, 0].double()
    torch.testing.assert_close(physics.model_field("actuator_forcerange")[:, 0, 1], 20.0 * scale)
    torch.testing.assert_close(physics.model_field("actuator_gainprm")[:, 0, 0], 30.0 * scale)


def test_draws_start_from_the_nominal_model():
    physics, randomizer = randomize(
        {"link_mass": {"low": 0.9, "high": 1.1}, "armature": {"low": 1.0, "high": 1.05}}, draws=5
    )
    mass = physics.model_field("body_mass")[:, MODEL.body("leg").id]
    torch.testing.assert_close(mass, randomizer.samples["link_mass"][:, 0].double())
    armature = physics.model_field("dof_armature")[:, 6]
    assert float(armature.min()) >= 0.01 and float(armature.max()) <= 0.0105


def test_only_the_named_worlds_change():
    physics, randomizer = randomize({"base_com": {"low": -0.05, "high": 0.05}})
    before = physics.model_field("body_ipos").clone()
    randomizer.draw(torch.tensor([3, 9]), torch.Generator().manual_seed(1))
    changed = (physics.model_field("body_ipos") != before).flatten(1).any(1).nonzero().squeeze(-1)
    assert changed.tolist() == [3, 9]


def test_laws():
    generator = torch.Generator().manual_seed(0)
    log = Law("log_uniform", 0.1, 10.0).draw((20000,), generator, torch.device("cpu"))
    assert abs(float(log.log10().mean())) < 0.02 and float(log.min()) >= 0.1
    normal = Law("normal", mean=2.0, std=0.5).draw((20000,), generator, torch.device("cpu"))
    assert abs(float(normal.mean()) - 2.0) < 0.02 and abs(float(normal.std()) - 0.5) < 0.02
    assert Law("normal", mean=2.0, std=0.5).lowest == 0.0 and Law(low=0.3, high=1.0).lowest == 0.3


def test_draws_side_by_side_are_those_of_each_law_in_turn():
    laws = {
        "kp": Law(low=0.8, high=1.2),
        "kd": Law("log_uniform", 0.5, 2.0),
        "base_mass": Law("normal", mean=1.0, std=2.0),
        "foot_friction": Law(low=0.3, high=0.3),
    }
    sizes = {"kp": 3, "kd": 2, "base_mass": 1, "foot_friction": 1}
    together, apart = (torch.Generator().manual_seed(5) for _ in range(2))
    draws = Draws(laws, sizes, torch.device("cpu"))
    for n in (4, 1):
        split = draws.split(draws(n, together))
        assert [tuple(part.shape) for part in split] == [(n, size) for size in sizes.values()]
        for part, (name, law) in zip(split, laws.items(), strict=True):
            torch.testing.assert_close(part, law.draw((n, sizes[name]), apart, torch.device("cpu")))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"foot_frictoin": {"low": 0, "high": 1}}, "did you mean 'foot_friction'"),
        ({"kp": {"lo": 0.9}}, "unknown key randomization.kp.lo"),
        ({"kp": {"law": "gaussian"}}, "choose uniform, log_uniform or normal"),
        ({"kp": {"low": 2.0, "high": 1.0}}, "low 2.0 is above high 1.0"),
        ({"kp": {"law": "log_uniform", "low": 0.0, "high": 1.0}}, "needs low > 0"),
        ({"kp": {}}, "needs the numbers low and high"),
        ({"kp": {"low": 0.9}}, "needs the numbers low and high; high is nan"),
        ({"kp": {"law": "normal", "low": 0.9, "high": 1.1}}, "needs the numbers mean and std"),
        ({"kp": {"law": "normal", "mean": 1.0, "std": -0.1}}, "negative"),
        (
            {"kp": {"law": "normal", "mean": 1.0, "std": 0.5}},
            "reaches -1; stiffness of each motor, scaled: not below 0",
        ),
        ({"kp": [0.9, 1.1]}, "kp is a law"),
    ],
)
def test_errors(config, message):
    with pytest.raises(ValueError, match=message):
        parse(config)


def test_a_vanishing_base_is_refused():
    with pytest.raises(ValueError, match="vanish"):
        randomize({"base_mass": {"low": -6.0, "high": -5.5}})


def test_every_target_says_what_it_does():
    assert all(target.effect and target.unit and target.fields for target in TARGETS.values())
