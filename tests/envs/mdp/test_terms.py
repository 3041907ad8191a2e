"""Terms by configuration: weights, supplied parameters, and errors that help."""

import pytest
import torch

from envs.mdp import rewards, terminations
from envs.mdp.terms import WeightedTerms, bind

from .states import state


def test_weighted_sum_and_shares():
    config = {"alive": 2.0, "upright": None, "base_height": {"weight": -10, "target": 0.2}, "torque": 0.0}
    terms = WeightedTerms(rewards, config, {})
    total, parts = terms(state(2))
    assert terms.names == ["alive", "base_height"]
    torch.testing.assert_close(parts, torch.tensor([[2.0, -0.1], [2.0, -0.1]]))
    torch.testing.assert_close(total, torch.tensor([1.9, 1.9]))


def test_given_values_fill_in_and_configuration_wins():
    given = {"target": 0.1, "sigma": 99.0}
    assert float(bind(rewards, "base_height", {}, given)(state())) == pytest.approx(0.04)
    assert float(bind(rewards, "base_height", {"target": 0.3}, given)(state())) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"track_lin_vell": 1.0}, "did you mean 'track_lin_vel'"),
        ({"track_lin_vel": {"weight": 1.0, "sigm": 0.2}}, "did you mean 'sigma'"),
        ({"track_lin_vel": {"sigma": 0.2}}, "needs a weight"),
        ({"base_height": 1.0}, "needs target"),
        ({"alive": True}, "needs a weight"),
        ({"alive": 0.0, "upright": None}, "no reward term has a weight; valid: action_rate"),
    ],
)
def test_errors_name_the_valid_choices(config, message):
    with pytest.raises(ValueError, match=message):
        WeightedTerms(rewards, config, {})


def test_terminations():
    tilted = state(3, gravity_b=[[0.0, 0.0, -1.0], [0.8, 0.0, -0.6], [1.0, 0.0, 0.0]])
    assert bind(terminations, "tilted", {"degrees": 60.0}, {})(tilted).tolist() == [False, False, True]
    assert bind(terminations, "tilted", {"degrees": 50.0}, {})(tilted).tolist() == [False, True, True]
    assert terminations.too_low(state(base_height=[0.1]), 0.15).tolist() == [True]
