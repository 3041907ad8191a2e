"""Running statistics against numpy, frozen until they are committed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from embodied.normalize import ObsNormalizer, RewardScaler, RunningMoments, symmetric_moments
from embodied.types import Mirror, ObsGroup, ObsTerm, Symmetry


def test_moments_equal_numpy_over_several_commits_and_a_large_offset() -> None:
    moments = RunningMoments((3,))
    data = 1e4 + 0.5 * torch.randn(5, 4, 100, 3)
    for rollout in data:
        for step in rollout:
            moments.accumulate(step)
        moments.commit()
    rows = data.double().numpy().reshape(-1, 3)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.var, rows.var(0), rtol=1e-6)
    assert moments.count == len(rows)


def test_statistics_are_frozen_until_committed() -> None:
    moments = RunningMoments((1,))
    x = torch.tensor([[3.0], [5.0]])
    moments.accumulate(x)
    assert torch.equal(moments(x), x * (1.0 + 1e-4) ** -0.5)
    moments.commit()
    torch.testing.assert_close(moments(x), torch.tensor([[-1.0], [1.0]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(moments.inverse(moments(x)), x)


def test_commit_without_notes_changes_nothing() -> None:
    moments = RunningMoments((2,))
    moments.commit()
    moments.accumulate(torch.zeros(0, 2))
    moments.commit()
    assert moments.count == 0
    assert moments.var.tolist() == [1.0, 1.0]


def test_loading_restores_what_the_forward_pass_reads() -> None:
    source, target = RunningMoments((2,)), RunningMoments((2,))
    source.accumulate(torch.randn(50, 2) * 3 + 1)
    source.commit()
    target.load_state_dict(source.state_dict())
    x = torch.randn(4, 2)
    assert torch.equal(target(x), source(x))


def groups() -> dict[str, ObsGroup]:
    return {
        "policy": ObsGroup.of(ObsTerm("x", 2)),
        "image": ObsGroup(shape=(2, 2, 3), dtype="uint8", normalize=False),
    }


def test_only_groups_that_ask_for_it_are_standardised_and_clipped() -> None:
    normalizer = ObsNormalizer(groups(), clip=2.0)
    obs = {"policy": torch.tensor([[5.0, -0.5]]), "image": torch.full((1, 2, 2, 3), 7, dtype=torch.uint8)}
    seen = normalizer(obs)
    assert seen["image"] is obs["image"]
    torch.testing.assert_close(seen["policy"], torch.tensor([[2.0, -0.5]]), atol=1e-4, rtol=0)
    assert obs["policy"].tolist() == [[5.0, -0.5]]


def test_inactive_rows_do_not_count_and_a_frozen_normalizer_takes_no_notes() -> None:
    normalizer = ObsNormalizer(groups())
    obs = {"policy": torch.tensor([[1.0, 1.0], [1e6, 1e6], [3.0, 3.0]])}
    normalizer.accumulate(obs, torch.tensor([True, False, True]))
    normalizer.commit()
    assert normalizer.moments["policy"].mean.tolist() == [2.0, 2.0]
    normalizer.frozen = True
    normalizer.accumulate(obs)
    normalizer.commit()
    assert normalizer.moments["policy"].count == 2


def test_symmetric_moments_are_those_of_the_data_and_its_mirror_image() -> None:
    mirror = Mirror((1, 0, 2), (1.0, 1.0, -1.0))
    x = torch.randn(200, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([1.0, -2.0, 4.0])
    both = torch.cat([x, mirror(x)])
    mean, var = symmetric_moments(x.mean(0), x.var(0, correction=0), mirror)
    torch.testing.assert_close(mean, both.mean(0))
    torch.testing.assert_close(var, both.var(0, correction=0))


def test_symmetric_normalising_commutes_with_mirroring() -> None:
    mirror = Mirror((1, 0), (-1.0, -1.0))
    spec = {"policy": ObsGroup.of(ObsTerm("x", 2))}
    symmetric = ObsNormalizer(spec, symmetry=Symmetry({"policy": mirror}, mirror))
    plain = ObsNormalizer(spec)
    x = torch.randn(300, 2) * torch.tensor([1.0, 4.0]) + torch.tensor([2.0, 1.0])
    for normalizer in (symmetric, plain):
        normalizer.accumulate({"policy": x})
        normalizer.commit()
    torch.testing.assert_close(symmetric({"policy": mirror(x)})["policy"], mirror(symmetric({"policy": x})["policy"]))
    gap = plain({"policy": mirror(x)})["policy"] - mirror(plain({"policy": x})["policy"])
    assert gap.abs().max() > 0.5


def test_reward_scaler_divides_by_the_deviation_of_the_discounted_return() -> None:
    scaler = RewardScaler(rows=1, gamma=0.5)
    reward = torch.tensor([[1.0], [1.0], [4.0]])
    done = torch.tensor([[False], [True], [False]])
    scaled = scaler.scale(reward, done)
    std = np.std([1.0, 1.5, 4.0])
    np.testing.assert_allclose(scaled.flatten(), reward.flatten() / std, rtol=1e-6)
    # The sum goes on into the next rollout: 0.5 * 4 + 2.
    scaled = scaler.scale(torch.tensor([[2.0]]), torch.tensor([[False]]))
    assert scaled.item() == pytest.approx(2.0 / np.std([1.0, 1.5, 4.0, 4.0]), rel=1e-6)


def test_reward_scaler_clips_and_leaves_inactive_rows_out() -> None:
    scaler = RewardScaler(rows=2, gamma=0.0, clip=1.5)
    reward = torch.tensor([[1.0, 1e6], [-1.0, 1e6]])
    active = torch.tensor([[True, False], [True, False]])
    scaled = scaler.scale(reward, torch.zeros(2, 2, dtype=torch.bool), active)
    torch.testing.assert_close(scaled, torch.tensor([[1.0, 1.5], [-1.0, 1.5]]))
