"""Off-policy learning of steered policies: what is remembered, what is aimed at, and that it learns."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from embodied.evaluate import evaluate
from embodied.normalize import ObsNormalizer
from embodied.runtime import load_random_state, random_state
from embodied.types import StepResult
from envs.chunking import ChunkedVecEnv
from policies.steering.learner import SteeringLearner, transitions
from policies.steering.replay import Transitions
from policies.steering.settings import SACConfig
from policies.steering.view import StandardisedVecEnv
from tests.envs.adder import Adder

from .base import Compass, bounded, dsrl, expo

pytest.importorskip("stable_baselines3")

FAST = SACConfig(learning_rate=3e-3, batch_size=64, gradient_steps=4, gamma=0.9, learning_starts=80)


def learner(policy: Any, env: Any = None, config: SACConfig = FAST) -> SteeringLearner:
    torch.manual_seed(0)
    made = SteeringLearner(StandardisedVecEnv(env or bounded()), policy, config)
    made.start(0)
    return made


def run(learner: SteeringLearner, decisions: int) -> None:
    for _ in range(decisions):
        learner.decide()
        learner.learn()


# What is remembered -----------------------------------------------------------------------------------------------


def test_a_transition_says_what_follows_it_and_how_much_that_counts() -> None:
    """Rows: one that goes on, one cut off after 2 of 3 control steps, one that ended by itself, one of an opponent."""
    now, final = torch.arange(4.0).view(4, 1), 10 + torch.arange(4.0).view(4, 1)
    result = StepResult(
        obs={"policy": now},
        reward=torch.tensor([1.0, 2.0, 3.0, 4.0]),
        terminated=torch.tensor([False, False, True, False]),
        truncated=torch.tensor([False, True, False, False]),
        final_obs={"policy": final},
        metrics={},
        active=torch.tensor([True, True, True, False]),
        steps=torch.tensor([3, 2, 1, 3]),
    )
    late = torch.zeros(4, dtype=torch.bool)
    found = transitions(-now, torch.zeros(4, 2), result, gamma=0.5, late=late)
    assert found.next_observations.flatten().tolist() == [0.0, 11.0, 12.0]
    assert found.dones.flatten().tolist() == [0.0, 0.0, 1.0]
    assert found.discounts.flatten().tolist() == [0.125, 0.25, 0.5]
    assert found.rewards.flatten().tolist() == [1.0, 2.0, 3.0]
    assert found.observations.flatten().tolist() == [0.0, -1.0, -2.0] and found.actions.shape == (3, 2)
    at_the_deadline = transitions(-now, torch.zeros(4, 2), result, gamma=0.5, late=~late)
    assert not at_the_deadline.dones.any() and at_the_deadline.next_observations.flatten().tolist() == [0.0, 11.0, 12.0]


class Rest(Compass):
    """Does nothing, for two control steps at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.noise_shape = (1, 2, 1)  # type: ignore[assignment]

    def export_forward(self, obs_policy: Tensor, noise: Tensor, image: Any = None) -> Tensor:
        return 0 * noise[:, 0]


def test_a_chunk_that_is_cut_short_is_discounted_by_what_it_lasted() -> None:
    """An Adder's episode ends after 7 control steps, in the middle of the fourth chunk; row i is paid i + 1 / 8."""
    task = ChunkedVecEnv(Adder(2), chunk=2, history=2)
    made = learner(dsrl(Rest(), task.spec), task)
    assert task.discount == FAST.gamma
    run(made, 4)
    stored = made.replay.state_dict()["stored"]
    assert stored["observations"].shape == (8, 2, 2) and stored["actions"].shape == (8, 2)
    last, whole = torch.tensor([0.9] * 2), torch.tensor([0.81] * 6)
    torch.testing.assert_close(stored["discounts"].flatten(), torch.cat([whole, last]))
    assert not stored["dones"].any()  # cut off, not ended: its last observation has a value
    pay = torch.tensor([0.125, 1.125])
    torch.testing.assert_close(stored["rewards"].flatten(), torch.cat([pay * 1.9] * 3 + [pay]))


def test_the_frozen_policy_acts_by_itself_until_learning_starts() -> None:
    policy = expo(edit_scale=1.0)
    made = learner(policy)
    weights = copy.deepcopy(policy.actor.state_dict())
    run(made, 9)  # of 8 rows each
    assert not made.learning and made.figures() == {"replay": 72.0}
    stored = made.replay.state_dict()["stored"]
    along = stored["actions"] / stored["observations"]  # the base goes along the line through the origin, no edit does
    inside = stored["actions"].abs().amax(-1) < 1
    torch.testing.assert_close(along[inside, 0], along[inside, 1], rtol=1e-4, atol=1e-4)
    assert all(torch.equal(x, weights[name]) for name, x in policy.actor.state_dict().items())
    run(made, 1)
    assert made.learning and "loss/critic" in made.figures()


def test_the_learner_sees_standardised_observations() -> None:
    env = bounded()
    normalizer = ObsNormalizer.of(env.spec)
    normalizer.accumulate({name: 3 * x + 1 for name, x in env.reset(seed=0).items()})
    normalizer.commit()
    made = SteeringLearner(StandardisedVecEnv(bounded(), normalizer), dsrl(), FAST)
    made.start(1)
    assert torch.equal(made.obs, normalizer(env.reset(seed=1))["policy"])


# What is aimed at -------------------------------------------------------------------------------------------------


class Level(nn.Module):
    """Two critics that say the same whatever they see: ``level``, and 1 more."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor([level]))
        self.optimizer = torch.optim.SGD(self.parameters(), 0.0)

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        value = self.level.expand(len(obs), 1)
        return value, value + 1


def batch() -> Transitions:
    """A decision that went on after 1 control step at gamma 0.5, one that did after 2, and one that ended by itself."""
    one = torch.ones(3, 1)
    dones = torch.tensor([[0.0], [0.0], [1.0]])
    return Transitions(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 2), dones, one, one * 0.5 ** (1 + dones))


def test_the_targets_of_dsrl_discount_each_transition_by_its_own_length() -> None:
    made = learner(dsrl(), config=SACConfig(temperature=1e-12, learning_rate=1e-12))
    made.sac.critic, made.sac.critic_target = Level(0.0), Level(4.0)  # type: ignore[assignment]
    discounts = torch.tensor([[0.5], [0.25], [0.25]])
    made.sac.replay_buffer.sample = lambda size, env=None: batch()._replace(discounts=discounts)  # type: ignore
    made.sac.train(1, 3)
    target = torch.tensor([1 + 0.5 * 4, 1 + 0.25 * 4, 1.0])  # entropy is worth nothing
    expected = 0.5 * (target.square().mean() + (target - 1).square().mean())
    assert made.figures()["loss/critic"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_targets_of_expo_are_the_best_candidates_smallest_value() -> None:
    policy = expo()
    made = learner(policy)
    judged = torch.tensor([[1.0, 4.0], [3.0, 2.0], [9.0, 9.0]])
    policy.judge = lambda obs, critic: (None, judged)  # type: ignore[method-assign,assignment,return-value]
    made.sac.critic = Level(0.0)  # type: ignore[assignment]
    loss = made.sac._update_critic(batch()._replace(discounts=torch.tensor([[0.5], [0.25], [0.5]])))  # type: ignore
    target = torch.tensor([1 + 0.5 * 4, 1 + 0.25 * 3, 1.0])
    assert loss == pytest.approx(0.5 * (target.square().mean() + (target - 1).square().mean()).item())


def test_a_loss_that_is_not_finite_is_told() -> None:
    made = learner(dsrl(), config=SACConfig(learning_starts=1, gradient_steps=1))
    made.decide()
    made.replay.add(made.replay.sample(512)._replace(rewards=torch.full((512, 1), torch.nan)))
    with pytest.raises(FloatingPointError, match="critics' loss is not finite"):
        made.learn()


# That it learns ---------------------------------------------------------------------------------------------------


def measured(act: Any) -> float:
    return evaluate(bounded(), act, 64)["metrics"]["return"]["mean"]


def test_chosen_noise_leads_home() -> None:
    """With standard normal noise the point goes nowhere on average; steered, it goes home. The base stays as it is."""
    base = Compass()
    policy = dsrl(base)
    before = measured(lambda obs: base.export_forward(obs["policy"], torch.randn(8, 1, 1, 2)))
    best = measured(lambda obs: (-2 * obs["policy"]).unsqueeze(1))
    run(learner(policy), 80)
    assert measured(policy) > before + 0.7 * (best - before)
    assert base.gain.item() == -2.0 and not base.gain.requires_grad


def test_choosing_and_editing_better_a_base_that_is_off_the_mark() -> None:
    """The base goes the wrong way half of the time, and always 0.4 beside it; choosing and editing mend both."""
    base = Compass(bias=0.4)
    policy = expo(base, candidates=4, edit_scale=0.5)
    before = measured(lambda obs: base.export_forward(obs["policy"], torch.randn(8, 1, 1, 2)))
    best = measured(lambda obs: (-2 * obs["policy"]).unsqueeze(1))
    run(learner(policy), 80)
    assert measured(policy) > before + 0.5 * (best - before)
    assert base.gain.item() == -2.0


@pytest.mark.parametrize("make", [dsrl, expo])
def test_it_continues_bit_for_bit(make: Any) -> None:
    config = SACConfig(learning_starts=16, gradient_steps=1, batch_size=16, buffer_size=40)
    policy, other = make(), make()
    first, second = learner(policy, config=config), learner(other, config=config)
    run(first, 6)
    weights, state = copy.deepcopy(policy.state_dict()), copy.deepcopy(first.state_dict())
    random = random_state(torch.device("cpu"))
    run(first, 4)
    other.load_state_dict(weights)
    second.load_state_dict(state)
    load_random_state(random, torch.device("cpu"))
    run(second, 4)
    assert first.figures() == second.figures()
    assert all(torch.equal(x, other.state_dict()[name]) for name, x in policy.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 1.5}, r"algo.gamma=1.5: must lie in \[0, 1\]"),
        ({"batch_size": 0}, "algo.batch_size=0"),
        ({"temperature": 0.0}, "algo.temperature=0.0"),
    ],
)
def test_settings_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SACConfig(**options)
