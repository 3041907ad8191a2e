"""What the critic is told is what the physics has."""

import pytest
import torch

import envs

N = 16
FEET = ("FR_foot", "FL_foot", "RR_foot", "RL_foot")


def told(env, obs) -> dict[str, torch.Tensor]:
    terms = env.spec.obs["critic"].terms
    return dict(zip([t.name for t in terms], obs["critic"].split([t.size for t in terms], -1), strict=True))


def make(**overrides):
    return envs.make("go2_velocity", num_worlds=N, num_threads=1, overrides=overrides)


def read(env) -> dict[str, torch.Tensor]:
    """The same from the fields of the model, over those of the nominal one."""
    model, field = env.physics.model, env.physics.model_field
    nominal = {name: torch.as_tensor(getattr(model, name)) for name in ("body_mass", "body_ipos", "actuator_biasprm")}
    base, links = model.body("base").id, [model.body(name).id for name in env.physics_draws.link_names]
    bias = field("actuator_biasprm") / nominal["actuator_biasprm"]
    mass = field("body_mass") - nominal["body_mass"]
    values = {
        "friction": field("geom_friction")[:, [model.geom(name).id for name in FEET], 0],
        "added_mass": mass[:, [base]],
        "com_shift": field("body_ipos")[:, base] - nominal["body_ipos"][base],
        "stiffness": bias[:, :, 1],
        "damping": bias[:, :, 2],
        "link_mass": (field("body_mass") / nominal["body_mass"])[:, links],
    }
    return {name: value.float() for name, value in values.items()}


def test_the_critic_is_told_what_each_world_drew():
    env = make(randomization={"motor_strength": {"low": 0.9, "high": 1.1}})
    obs = told(env, env.reset(seed=0))
    assert env.physics_draws.link_names[:3] == ("FR_hip", "FR_thigh", "FR_calf")
    for name, value in read(env).items():
        assert float(value.std(0).min()) > 1e-3
        torch.testing.assert_close(obs[name].expand(value.shape), value, atol=1e-5, rtol=1e-5)


def test_a_world_that_starts_again_is_told_its_new_draws():
    env = make(episode_length_s=0.04)
    first = told(env, env.reset(seed=0))
    env.step(torch.zeros(N, 1, 12))
    again = told(env, env.step(torch.zeros(N, 1, 12)).obs)
    assert not torch.isclose(first["stiffness"], again["stiffness"]).all(-1).any()
    torch.testing.assert_close(again["stiffness"], read(env)["stiffness"], atol=1e-5, rtol=1e-5)


def test_without_randomisation_it_is_told_the_nominal_robot():
    env = make(randomization=None)
    obs = told(env, env.reset(seed=0))
    for name, value in (("stiffness", 1.0), ("damping", 1.0), ("link_mass", 1.0), ("added_mass", 0.0)):
        assert bool((obs[name] == value).all())
    feet = float(env.physics.model.geom("FL_foot").friction[0])
    assert obs["friction"].unique().tolist() == [pytest.approx(feet)]


def test_the_critic_is_told_bias_and_delays():
    env = make(
        encoder_bias=0.02,
        delay={"action_s": [0.0, 0.02], "observation_s": [0.02, 0.02]},
        observations={"critic": {"observation_delay": {}}},
    )
    obs = told(env, env.reset(seed=0))
    joints = env.physics.field("qpos")[:, 7:].float() - torch.tensor(env.spec.robot.default_joint_pos)
    torch.testing.assert_close(obs["joint_pos"] - obs["encoder_bias"], joints, atol=1e-6, rtol=0)
    assert {round(x, 4) for x in obs["action_delay"].flatten().tolist()} == {0.0, 0.01, 0.02}
    assert {round(x, 4) for x in obs["observation_delay"].flatten().tolist()} == {0.02}


def test_no_motor_has_turned_before_the_first_action():
    env = make()
    obs = told(env, env.reset(seed=0))
    assert float(obs["torque"].abs().max()) == 0.0
    assert float(told(env, env.step(torch.zeros(N, 1, 12)).obs)["torque"].abs().max()) > 1.0
