from __future__ import annotations

from typing import Any

import pytest
import torch

import policies
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec

SPEC = TaskSpec("t", 0.1, 10, {"policy": ObsGroup.of(ObsTerm("x", 4))}, ActionSpec(("a", "b")))
SCALING = {"centre": [10.0, -1.0], "width": [5.0, 0.1]}
PLAIN: dict[str, Any] = {"kind": "mlp", "hidden": [8]}


def pair() -> tuple[Any, Any]:
    """A policy, and the same one scaled."""
    plain, scaled = policies.make(PLAIN, SPEC), policies.make(PLAIN | {"action_scaling": SCALING}, SPEC)
    scaled.policy.load_state_dict(plain.state_dict())  # type: ignore[attr-defined]
    return plain, scaled


def test_actions_are_those_of_the_task() -> None:
    plain, scaled = pair()
    obs = {"policy": torch.randn(6, 4)}
    expected = plain.act(obs, deterministic=True).action * torch.tensor([5.0, 0.1]) + torch.tensor([10.0, -1.0])
    torch.testing.assert_close(scaled.act(obs, deterministic=True).action, expected)


def test_likelihoods_are_those_of_the_normalised_action() -> None:
    plain, scaled = pair()
    obs = {"policy": torch.randn(6, 4)}
    drawn = scaled.act(obs)
    normalised = (drawn.action - torch.tensor([10.0, -1.0])) / torch.tensor([5.0, 0.1])
    torch.testing.assert_close(plain.evaluate_actions(obs, normalised, {}).log_prob, drawn.log_prob, atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.imitation_loss(obs, drawn.action), plain.imitation_loss(obs, normalised))


def test_the_constants_go_with_the_weights() -> None:
    _, scaled = pair()
    other = policies.make(PLAIN | {"action_scaling": {"centre": [0.0, 0.0], "width": [1.0, 1.0]}}, SPEC)
    other.load_pretrained(scaled.state_dict())  # type: ignore[attr-defined]
    obs = {"policy": torch.randn(3, 4)}
    torch.testing.assert_close(other.act(obs, deterministic=True).action, scaled.act(obs, deterministic=True).action)
    with pytest.raises(ValueError, match="they have no action scaling of 2 elements"):
        other.load_pretrained(scaled.policy.state_dict())  # type: ignore[attr-defined]


def test_what_it_does_not_know_is_the_policys() -> None:
    plain, scaled = pair()
    assert scaled.chunk == (1, 2) and scaled.recurrent is False
    assert torch.equal(scaled.factor_weight, plain.factor_weight)
    with pytest.raises(AttributeError):
        _ = scaled.nothing


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"centre": [0.0], "width": [1.0]}, "1 centres, 1 widths for 2 actions"),
        ({"centre": [0.0, 0.0], "width": [1.0, 0.0]}, "must be numbers above 0"),
    ],
)
def test_bad_constants(scaling: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policies.make(PLAIN | {"action_scaling": scaling}, SPEC)
