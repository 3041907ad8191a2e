"""A policy goes on to a task that sees more, less, or in another order."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from embodied import transfer
from embodied.normalize import ObsNormalizer
from embodied.types import ActionSpec, ObsGroup, ObsTerm, TaskSpec
from policies.gru import GRUConfig, GRUPolicy
from policies.mlp import MLPConfig, MLPPolicy
from policies.scaled import ScaledPolicy


def spec(actions: int = 2, chunk: int = 1, **groups: dict[str, int]) -> TaskSpec:
    """A task whose groups have terms of these sizes."""
    made = {name: ObsGroup.of(*(ObsTerm(term, size) for term, size in terms.items())) for name, terms in groups.items()}
    action = ActionSpec(tuple("abcdef"[:actions]), chunk=chunk)
    return TaskSpec("task", control_dt=0.02, physics_dt=0.01, horizon=10, obs=made, action=action)


FLAT = spec(policy={"gyro": 3, "joints": 2}, critic={"speed": 1})
ROUGH = spec(policy={"joints": 2, "scan": 3, "gyro": 3}, critic={"speed": 1})
MOVED = [3, 4, -1, -1, -1, 0, 1, 2]


def seen(rows: int = 5) -> torch.Tensor:
    """Observations of the group ``policy`` of ROUGH."""
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(3))


def test_terms_are_matched_by_name() -> None:
    assert {name: index.tolist() for name, index in transfer.columns(FLAT, ROUGH).items()} == {"policy": MOVED}
    assert transfer.columns(ROUGH, FLAT)["policy"].tolist() == [5, 6, 7, 0, 1]
    assert transfer.columns(FLAT, FLAT) == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (spec(3, policy={"gyro": 3, "joints": 2}, critic={"speed": 1}), "3 actions, not 2"),
        (spec(chunk=4, policy={"gyro": 3, "joints": 2}, critic={"speed": 1}), "task.chunk is 4, not 1"),
        (spec(policy={"gyro": 3, "joints": 4}, critic={"speed": 1}), "term 'joints' of 'policy' has another size"),
        (spec(policy={"x": 1}, critic={"speed": 1}), "observation group 'policy' has no term in common"),
        (spec(policy={"gyro": 3}, image={}), "it knows no observation group 'image'"),
    ],
)
def test_what_does_not_fit_is_named(other: TaskSpec, message: str) -> None:
    with pytest.raises(ValueError, match=f"trained on task does not fit task: .*{message}"):
        transfer.columns(FLAT, other)


def test_histories_and_images_must_be_alike() -> None:
    longer = dataclasses.replace(FLAT.obs["policy"], shape=(2, 5))
    history = dataclasses.replace(FLAT, obs=FLAT.obs | {"policy": longer})
    with pytest.raises(ValueError, match=r"'policy' has shape \(5,\), not \(2, 5\)"):
        transfer.columns(FLAT, history)
    with pytest.raises(ValueError, match="'policy' cannot be matched by its terms"):
        transfer.columns(history, ROUGH)
    image = dataclasses.replace(FLAT, obs=FLAT.obs | {"image": ObsGroup(shape=(8, 8, 3), dtype="uint8")})
    assert transfer.columns(image, image) == {}


@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_a_policy_acts_as_before_whatever_the_new_terms_say(kind: str) -> None:
    def made(task: TaskSpec) -> MLPPolicy | GRUPolicy:
        if kind == "mlp":
            return MLPPolicy(task, MLPConfig(hidden=(8,)))
        return GRUPolicy(task, GRUConfig(hidden=(8,), memory_size=4))

    torch.manual_seed(0)
    before, after = made(FLAT), made(ROUGH)
    after.load_pretrained(transfer.weights(before.state_dict(), after, transfer.columns(FLAT, ROUGH)))
    obs = seen()
    old = torch.cat([obs[:, 5:], obs[:, :2]], -1)
    speed = {"critic": torch.zeros(5, 1)}
    acted = before.act({"policy": old, **speed}, deterministic=True).action
    torch.testing.assert_close(after.act({"policy": obs, **speed}, deterministic=True).action, acted)
    assert float(acted.detach().std()) > 0


def test_a_policy_that_cannot_says_so() -> None:
    with pytest.raises(ValueError, match=r"Linear cannot .* other observation terms \(those of policy differ"):
        transfer.weights({}, nn.Linear(1, 1), transfer.columns(FLAT, ROUGH))
    critic = transfer.columns(FLAT, spec(policy={"gyro": 3, "joints": 2}, critic={"speed": 1, "mass": 1}))
    assert list(critic) == ["critic"]
    assert transfer.weights({"x": torch.ones(2)}, nn.Linear(1, 1), critic)["x"].tolist() == [1.0, 1.0]


def test_known_terms_keep_their_constants_and_new_ones_get_those_of_the_first_observations() -> None:
    old, new = ObsNormalizer.of(FLAT), ObsNormalizer.of(ROUGH)
    generator = torch.Generator().manual_seed(1)
    old.accumulate({"policy": 3 + 2 * torch.randn(100, 5, generator=generator), "critic": torch.randn(100, 1)})
    old.commit()
    obs = seen(50)
    new.load_state_dict(transfer.moments(old.state_dict(), new, transfer.columns(FLAT, ROUGH), {"policy": obs}))
    known, mine = old.moments["policy"], new.moments["policy"]
    assert isinstance(known.mean, torch.Tensor) and isinstance(mine.mean, torch.Tensor)
    torch.testing.assert_close(mine.mean[[5, 6, 7, 0, 1]], known.mean)
    torch.testing.assert_close(mine.var[[5, 6, 7, 0, 1]], known.var)
    torch.testing.assert_close(mine.mean[2:5], obs[:, 2:5].double().mean(0))
    torch.testing.assert_close(mine.var[2:5], obs[:, 2:5].double().var(0, correction=0))
    assert mine.count == 100
    assert torch.equal(new.moments["critic"].mean, old.moments["critic"].mean)


def test_a_term_that_does_not_vary_at_first_keeps_its_unit() -> None:
    new, obs = ObsNormalizer.of(ROUGH), seen(50)
    obs[:, 2] = 5.0
    old = ObsNormalizer.of(FLAT).state_dict()
    new.load_state_dict(transfer.moments(old, new, transfer.columns(FLAT, ROUGH), {"policy": obs}))
    obs[:, 2] = 4.0
    assert new({"policy": obs})["policy"][:, 2].tolist() == [pytest.approx(-1.0, abs=1e-3)] * 50


def test_a_scaled_policy_reads_what_its_own_does() -> None:
    scale: tuple[list[float], list[float], int] = ([0.0, 0.0], [1.0, 1.0], 2)
    scaled = ScaledPolicy(MLPPolicy(FLAT, MLPConfig(hidden=(8,))), *scale)
    state = transfer.weights(scaled.state_dict(), scaled, transfer.columns(FLAT, ROUGH))
    assert state["policy.actor.0.weight"].shape == (8, 8)
    silent = ScaledPolicy(nn.Linear(1, 1), *scale)
    with pytest.raises(ValueError, match="those of policy differ"):
        transfer.weights({}, silent, transfer.columns(FLAT, ROUGH))


def test_what_is_new_and_gone_is_told() -> None:
    assert transfer.describe(FLAT, FLAT) == []
    assert transfer.describe(FLAT, ROUGH) == ["observation group 'policy': new: scan"]
    other = spec(policy={"gyro": 3, "eye": 1}, critic={"speed": 1})
    assert transfer.describe(FLAT, other) == ["observation group 'policy': new: eye; gone: joints"]
