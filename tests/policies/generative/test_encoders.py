"""The condition holds the measurements as they are, beside features of every view."""

from __future__ import annotations

import pytest
import torch

import policies
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from policies.generative.encoders import Critic, ImageConfig, ImageEncoder, ObservationEncoder

from .models import SMALL, SPEC, observations

CONFIG = ImageConfig(channels=(4, 8), features=6)


def seeing(shape: tuple[int, ...], **groups: ObsGroup) -> TaskSpec:
    obs = {"policy": ObsGroup.of(ObsTerm("x", 5)), "image": ObsGroup(shape=shape, dtype="uint8", normalize=False)}
    return TaskSpec("seeing", 0.1, 10, obs | groups, ActionSpec(("a", "b", "c"), chunk=2))


def test_measurements_and_their_history_pass_as_they_are() -> None:
    spec = TaskSpec("past", 0.1, 10, {"policy": ObsGroup(shape=(4, 3))}, ActionSpec(("a",)))
    encoder = ObservationEncoder(spec, "policy", CONFIG)
    x = torch.randn(2, 4, 3)
    assert encoder.size == 12
    assert torch.equal(encoder({"policy": x}, torch.float32), x.view(2, 12))
    assert encoder({"policy": x}, torch.float64).dtype == torch.float64


def test_bytes_and_floats_of_the_same_image_are_the_same() -> None:
    encoder = ImageEncoder((9, 11, 3), CONFIG)
    image = torch.randint(0, 256, (4, 9, 11, 3), dtype=torch.uint8)
    features = encoder(image)
    assert features.shape == (4, 6)
    torch.testing.assert_close(features, encoder(image.float() / 255))


def test_views_share_the_network_and_stand_side_by_side() -> None:
    encoder = ImageEncoder((2, 8, 8, 3), CONFIG)
    views = torch.rand(4, 2, 8, 8, 3)
    assert encoder.size == 12
    one = ImageEncoder((8, 8, 3), CONFIG)
    one.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(encoder(views), torch.cat([one(views[:, 0]), one(views[:, 1])], -1))


def test_the_critic_sees_images_only_where_it_has_no_group_of_its_own() -> None:
    privileged = Critic(seeing((8, 8, 3), critic=ObsGroup.of(ObsTerm("y", 7))), (8,), "elu", CONFIG)
    assert privileged.encoder.image is None and privileged.encoder.size == 7
    bare = Critic(seeing((8, 8, 3)), (8,), "elu", CONFIG)
    assert bare.encoder.image is not None and bare.encoder.size == 11


@pytest.mark.parametrize("kind", ["ncdpo", "dppo", "reinflow", "flow_sde", "fpo", "residual"])
def test_every_rule_acts_and_learns_from_images(kind: str) -> None:
    extra = {
        "image": {"channels": [4], "features": 4},
        "diffusion": {"train_steps": 2, "prediction": "x0", "clip": None},
    }
    policy = policies.make(SMALL | extra | {"kind": kind}, seeing((2, 6, 6, 3)))
    obs = {"policy": torch.randn(3, 5), "image": torch.randint(0, 256, (3, 2, 6, 6, 3), dtype=torch.uint8)}
    with torch.no_grad():
        decision = policy.act(obs)
    evaluation = policy.evaluate_actions(obs, decision.action, decision.trace)
    evaluation.log_prob.sum().backward()
    kernel = policy.encoder.image.layers[0].weight  # type: ignore[attr-defined]
    assert (kernel.grad is None) if kind == "residual" else bool(kernel.grad.any())


def test_without_images_nothing_is_encoded() -> None:
    encoder = ObservationEncoder(SPEC, "critic", CONFIG)
    obs = observations(3)
    assert encoder.size == 7 and torch.equal(encoder(obs, torch.float32), obs["critic"])
    assert not list(encoder.parameters())


def test_mistakes_name_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"'image' has shape \(8, 8\): must be \(h, w, 3\) or \(views, h, w, 3\)"):
        ObservationEncoder(seeing((8, 8)), "policy", CONFIG)
    with pytest.raises(ValueError, match=r"policy.image.channels is empty"):
        ImageConfig(channels=())
