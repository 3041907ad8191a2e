"""Observation groups: layout, what they tell of their terms, their mirror image, noise, and errors that help."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from envs.mdp.groups import ObservationGroups
from envs.mdp.mirrors import gait_mirror, leg_mirror
from envs.mdp.scan import HeightScan, ScanConfig
from envs.robots.robot import LEGS, leg_joint_mirror, leg_joint_names

from .states import DELAYS, SCALES, moving_state, random_motion, reflected, state

TROT = torch.tensor([0.0, 0.5, 0.5, 0.0])
SCAN = HeightScan(ScanConfig(half_x=0.4, half_y=0.2, spacing=0.2), torch.device("cpu"))  # 5 x 3 points
GIVEN = {"frequency": 2.0, "offset": 0.25, "dead_band": 0.1, "settle_s": 0.8, **SCAN.parameters}
MIRRORS = {
    "joint": leg_joint_mirror(),
    "leg": leg_mirror(LEGS),
    "scan": SCAN.mirror,
    "gait": gait_mirror(TROT, LEGS),
    "motor": leg_mirror(leg_joint_names()),
    "link": leg_mirror(leg_joint_names()),
}
NAMES = {"joint": leg_joint_names(), "motor": leg_joint_names(), "leg": LEGS}


def make(config, given=GIVEN, mirrors=MIRRORS) -> ObservationGroups:
    return ObservationGroups(config, given, state(height_scan=torch.zeros(1, 15)), mirrors, NAMES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Layout ---------------------------------------------------------------------------------------------------------


def test_groups_are_their_terms_in_the_order_of_the_configuration():
    groups = make({"policy": {"command": {}, "base_ang_vel": {}}, "critic": {"friction": {}, "command": {}}})
    s = state(2, command=[[1.0, 2.0, 3.0]] * 2, ang_vel_b=[[4.0, 5.0, 6.0]] * 2, friction=[0.3, 0.7])
    obs = groups(s, generator())
    assert list(obs) == list(groups.groups) == ["policy", "critic"]
    assert obs["policy"].tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] * 2
    torch.testing.assert_close(obs["critic"], torch.tensor([[0.3, 1.0, 2.0, 3.0], [0.7, 1.0, 2.0, 3.0]]))


def test_null_leaves_a_term_out():
    spec = make({"policy": {"command": {}, "gait_clock": None, "joint_vel": {}}}).groups["policy"]
    assert [term.name for term in spec.terms] == ["command", "joint_vel"]
    assert spec.shape == (15,)


def test_what_is_handed_out_is_not_the_state_itself():
    s = state()
    make({"policy": {"command": {}}})(s, generator())["policy"].fill_(9.0)
    assert s.command.tolist() == [[0.0, 0.0, 0.0]]


def test_the_spec_of_a_term():
    term = make({"policy": {"joint_vel": {"noise": 1.5}}}).groups["policy"].terms[0]
    assert (term.size, term.unit, term.frame, term.scale, term.noise) == (12, "rad/s", "joint", 1.0, 1.5)
    assert term.names == leg_joint_names()
    assert term.description == "Joint velocity"
    assert term.parameters == {}


def test_elements_have_the_names_of_legs_and_joints_where_they_are_some():
    terms = make({"policy": {"command": {}}, "critic": {"foot_height": {}, "torque": {}, "com_shift": {}}}).groups
    assert [term.names for term in terms["critic"].terms] == [LEGS, leg_joint_names(), ()]
    assert terms["policy"].terms[0].names == ()


def test_the_spec_carries_what_a_robot_needs_to_compute_a_term():
    clock, scan = make({"policy": {"gait_clock": {}, "height_scan": {}}}).groups["policy"].terms
    assert clock.parameters == {"frequency": 2.0, "offset": 0.25, "dead_band": 0.1, "settle_s": 0.8}
    assert (clock.size, scan.size) == (2, 15)
    assert scan.parameters == {"half_x": 0.4, "half_y": 0.2, "spacing": 0.2}


def test_what_a_robot_knows_at_once_is_not_sensed():
    terms: dict[str, dict] = {"command": {}, "base_ang_vel": {}, "gait_clock": {}, "last_action": {}, "height_scan": {}}
    sensed = make({"critic": {"torque": {}}, "policy": terms}).sensed
    assert sensed.dtype == torch.bool
    assert sensed.tolist() == [False] * 3 + [True] * 3 + [False] * 2 + [False] * 12 + [True] * 15


# Mirror image ---------------------------------------------------------------------------------------------------

INVARIANT = ("base_height", "friction", "added_mass", *DELAYS)
MEASURED = ("base_ang_vel", "projected_gravity", "command", "joint_pos", "joint_vel", "last_action", "gait_clock")
DRAWN = (*SCALES, "encoder_bias")
UNMEASURED = ("base_lin_vel", "foot_contact", "foot_height", "foot_air_time", "torque", "com_shift", *DRAWN, *INVARIANT)
TERMS = (*MEASURED, "height_scan", *UNMEASURED)


def seen(groups: ObservationGroups, motion) -> dict[str, torch.Tensor]:
    return groups(moving_state(motion, SCAN, TROT), generator())


@pytest.mark.parametrize("name", TERMS)
def test_a_reflected_robot_sees_the_mirrored_observation(name):
    """The mirror image of a motion is made without any Mirror, from the geometry of its bodies and ground."""
    groups, motion = make({"policy": {"command": {}}, "critic": {name: {}}}), random_motion(16)
    original, image = seen(groups, motion)["critic"], seen(groups, reflected(motion))["critic"]
    torch.testing.assert_close(groups.mirrors["critic"](original), image, atol=1e-5, rtol=1e-5)
    assert torch.allclose(original, image) == (name in INVARIANT)


def test_the_mirror_of_a_group_is_that_of_all_its_terms():
    groups = make({"policy": {name: {} for name in (*MEASURED, "height_scan")}, "critic": {name: {} for name in TERMS}})
    motion = random_motion(16)
    original, image = seen(groups, motion), seen(groups, reflected(motion))
    for group, mirror in groups.mirrors.items():
        torch.testing.assert_close(mirror(original[group]), image[group], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mirror(mirror(original[group])), original[group])


def test_the_mirror_of_a_group_by_hand():
    config: dict[str, dict] = {"command": {}, "gait_clock": {}, "base_ang_vel": {}, "projected_gravity": {}}
    groups = make({"policy": config, "critic": {"base_height": {}, "foot_height": {}, "joint_pos": {}}})
    policy, critic = groups.mirrors["policy"], groups.mirrors["critic"]
    assert policy.index == tuple(range(11))
    assert policy.sign == (1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0)
    assert critic.index == (0, 2, 1, 4, 3, 8, 9, 10, 5, 6, 7, 14, 15, 16, 11, 12, 13)
    assert critic.sign == (1.0,) * 5 + (-1.0, 1.0, 1.0) * 4


def test_symmetry_adds_the_mirror_of_the_action():
    groups = make({"policy": {"command": {}}, "critic": {"friction": {}}})
    symmetry = groups.symmetry(leg_joint_mirror())
    assert symmetry.obs == groups.mirrors
    assert sorted(symmetry.obs) == ["critic", "policy"]
    assert symmetry.action == leg_joint_mirror()


def test_mirrors_that_do_not_fit_are_refused():
    short = {**MIRRORS, "scan": HeightScan(None, torch.device("cpu")).mirror}
    with pytest.raises(ValueError, match="mirror 'scan' has 0 elements, term 'height_scan' has 15"):
        make({"policy": {"height_scan": {}}}, mirrors=short)
    with pytest.raises(ValueError, match=r"unknown mirror 'joint' of term 'torque'; valid: .*leg"):
        make({"policy": {"command": {}}, "critic": {"torque": {}}}, mirrors={"leg": MIRRORS["leg"]})


# Noise ----------------------------------------------------------------------------------------------------------

NOISY = {"policy": {"base_ang_vel": {"noise": 0.2}, "command": {}, "joint_vel": {"noise": 1.5}}}
HALF_WIDTH = torch.tensor([0.2] * 3 + [0.0] * 3 + [1.5] * 12)


def excess(rows: int = 4000) -> torch.Tensor:
    """What noise adds to the observation of robots whose every element is 2, (rows, 18)."""
    two = torch.tensor(2.0)
    s = state(rows, ang_vel_b=two.expand(rows, 3), command=two.expand(rows, 3), joint_vel=two.expand(rows, 12))
    return make(NOISY)(s, generator())["policy"] - 2.0


def test_noise_is_uniform_within_its_half_width():
    added = excess()
    assert bool((added.abs() <= HALF_WIDTH + 1e-6).all())
    assert bool((added[:, 3:6] == 0.0).all())
    for column in (*range(3), *range(6, 18)):
        scaled = (added[:, column] / HALF_WIDTH[column]).double().numpy()
        assert kstest(scaled, "uniform", args=(-1.0, 2.0)).pvalue > 1e-3
        assert np.abs(scaled).max() > 0.99


def test_noise_of_every_element_and_robot_is_its_own():
    added = excess()[:, [0, 1, 2, *range(6, 18)]].numpy()
    correlation = np.corrcoef(added.T) - np.eye(15)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(added))
    assert len(np.unique(added[:, 0])) > 3900


def test_noise_comes_from_the_given_generator_alone():
    groups, s, ours = make(NOISY), state(3), generator(7)
    elsewhere = torch.get_rng_state()
    first, second = groups(s, ours)["policy"], groups(s, ours)["policy"]
    assert torch.equal(torch.get_rng_state(), elsewhere)
    assert torch.equal(groups(s, generator(7))["policy"], first)
    assert not torch.equal(first, second)


def test_a_group_without_noise_is_exact_and_draws_nothing():
    groups = make({"policy": {"joint_vel": {"noise": 0}}, "critic": {"joint_vel": {}}})
    s, ours = state(3, joint_vel=torch.randn(3, 12, generator=generator())), generator()
    before = ours.get_state()
    obs = groups(s, ours)
    assert torch.equal(obs["policy"], s.joint_vel)
    assert torch.equal(obs["critic"], s.joint_vel)
    assert torch.equal(ours.get_state(), before)


def test_the_noise_of_one_group_is_not_in_another():
    obs = make({"policy": {"joint_vel": {"noise": 1.5}}, "critic": {"joint_vel": {}}})(state(3), generator())
    assert obs["policy"].abs().min() > 0.0
    assert obs["critic"].abs().max() == 0.0


# Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "need a group 'policy'; got none"),
        ({"critic": {"torque": {}}, "actor": {"command": {}}}, "need a group 'policy'; got critic, actor"),
        ({"policy": {}}, "group 'policy' has no terms"),
        ({"policy": None}, "group 'policy' has no terms"),
        ({"policy": {"command": {}}, "critic": {"torque": None}}, "group 'critic' has no terms"),
        ({"policy": {"base_lin_vel": {}}}, "does not measure 'base_lin_vel': put it into the group 'critic'"),
        (
            {"policy": {"joint_poss": {}}},
            "unknown observation term 'joint_poss'; did you mean 'joint_pos'.*base_ang_vel",
        ),
        ({"policy": {"nn": {}}}, "unknown observation term 'nn'; valid: action_delay, added_mass, base_ang_vel, "),
        ({"policy": {"trem": {}}}, "unknown observation term 'trem'; (?!.*, term,)"),
        ({"policy": {"joint_pos": {"nois": 0.1}}}, "'nois' of observation term 'joint_pos'; did you mean 'noise'"),
        ({"policy": {"gait_clock": {"frequency": 3.0}}}, "unknown option 'frequency' of .*'gait_clock'; valid: noise"),
        ({"policy": {"joint_pos": 0.1}}, "'joint_pos' takes options, got 0.1"),
        ({"policy": {"joint_pos": {"noise": "x"}}}, "half-width of at least 0, got 'x'"),
        ({"policy": {"joint_pos": {"noise": -0.1}}}, "half-width of at least 0, got -0.1"),
        ({"policy": {"joint_pos": {"noise": float("nan")}}}, "half-width of at least 0, got nan"),
    ],
)
def test_errors_name_the_valid_choices(config, message):
    with pytest.raises(ValueError, match=message):
        make(config)


@pytest.mark.parametrize("name", ["base_height", "foot_contact", "foot_height", "foot_air_time", "torque", "friction"])
def test_what_a_robot_does_not_measure_is_for_the_critic(name):
    with pytest.raises(ValueError, match=f"does not measure {name!r}"):
        make({"policy": {name: {}}})
    assert make({"policy": {"command": {}}, "critic": {name: {}}}).groups["critic"].terms[0].name == name


def test_a_scan_that_the_task_does_not_make_is_refused():
    with pytest.raises(ValueError, match="'height_scan' needs half_x, half_y, spacing"):
        make({"policy": {"height_scan": {}}}, given={})
