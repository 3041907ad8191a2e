"""Mirror images keep what they must keep, and the update cannot tell a rollout from its mirror image."""

from __future__ import annotations

import pytest
import torch

from embodied.ppo import PPO, PPOConfig
from embodied.rollout import Batch, Carry, Rollout, collect
from embodied.symmetry import MirrorImages
from embodied.types import Mirror, Symmetry
from policies.gru import GRUPolicy
from policies.mlp import MLPConfig, MLPPolicy
from tests.helpers.environments import Endless, PointMass

SWAP = Symmetry({"policy": Mirror((1, 0, 2), (1.0, 1.0, -1.0))}, Mirror((1, 0), (-1.0, -1.0)))


def batch_of(n: int = 4) -> Batch:
    x = torch.arange(3.0 * n).view(n, 3) + 1
    numbers = torch.arange(float(n))
    fields = {name: numbers.clone() for name in ("value", "advantage", "target")}
    return Batch({"policy": x}, x[:, None, :2].clone(), log_prob=numbers[:, None].clone(), **fields)


def test_augment_appends_mirror_images_with_the_originals_figures() -> None:
    batch = MirrorImages(SWAP, "augment").augment(batch_of(2))
    assert batch.obs["policy"].tolist() == [[1, 2, 3], [4, 5, 6], [2, 1, -3], [5, 4, -6]]
    assert batch.action[:, 0].tolist() == [[1, 2], [4, 5], [-2, -1], [-5, -4]]
    for name in ("value", "advantage", "target", "log_prob"):
        assert getattr(batch, name).flatten().tolist() == [0, 1, 0, 1], name
    assert batch.original is not None and batch.original.tolist() == [True, True, False, False]


def test_mix_mirrors_half_in_place() -> None:
    batch = MirrorImages(SWAP, "mix").augment(batch_of(2))
    assert batch.obs["policy"].tolist() == [[1, 2, 3], [5, 4, -6]]
    assert batch.action[:, 0].tolist() == [[1, 2], [-5, -4]]
    assert batch.original is not None and batch.original.tolist() == [True, False]


def test_an_update_on_the_mirrored_rollout_gives_the_same_parameters() -> None:
    results = []
    for mirrored in (False, True):
        torch.manual_seed(0)
        env = PointMass(16, horizon=6)
        policy = MLPPolicy(env.spec, MLPConfig(hidden=(16,)))
        rollout = Rollout(8, 16)
        collect(env, policy, rollout, Carry.start(env, policy, env.reset(seed=0)))
        if mirrored:
            assert env.spec.symmetry is not None
            rollout.obs = {name: env.spec.symmetry.obs[name](x) for name, x in rollout.obs.items()}
            rollout.action = env.spec.symmetry.action(rollout.action)
        config = PPOConfig(num_minibatches=1, schedule="constant", symmetry="augment", adam_eps=1e-5)
        PPO(policy, config, env.spec.symmetry).update(rollout)
        results.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_errors_say_why_something_cannot_be_mirrored() -> None:
    env = PointMass(4)
    with pytest.raises(ValueError, match="this task declares no symmetry"):
        PPO(MLPPolicy(Endless(4).spec), PPOConfig(symmetry="augment"), None)
    with pytest.raises(ValueError, match="needs a policy without memory"):
        PPO(GRUPolicy(env.spec), PPOConfig(symmetry="mix"), env.spec.symmetry)
    images = MirrorImages(SWAP, "augment")
    rollout = Rollout(1, 1)
    rollout.obs = {"critic": torch.zeros(1, 1, 3)}
    with pytest.raises(ValueError, match="says nothing of the observation groups critic"):
        images.reflect(rollout)
    rollout.obs, rollout.trace = {}, {"noise": torch.zeros(1, 1, 2)}
    with pytest.raises(ValueError, match="cannot mirror the trace noise"):
        images.reflect(rollout)
